//! Programs that nobody here wrote, through `connect --listen` and `serve --forward`: one of the two freezes, and
//! whoever waits behind the other one sees its connection end.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer_lab::{Program, freeze, isolated};
use tempfile::TempDir;

use crate::common::installed;
use crate::served::Served;
use crate::told::{SOON, Told};

const GOALS: [&str; 4] = ["--detect", "3s", "--tolerate", "1s"];
/// The promise, and what a busy machine adds.
const IN_TIME: Duration = Duration::from_millis(4_200);

/// A server of somebody else's, and the pair on the way to it.
struct Way {
    served: Served,
    gateway: Told,
    port: String,
}

impl Way {
    fn to(port: u16) -> Self {
        let forward = format!("127.0.0.1:{port}");
        let served = Served::start("127.0.0.1:0", &[&["--forward", &forward], &GOALS[..]].concat());
        let server = served.address.to_string();
        let mut gateway =
            Told::start(&[&["connect", &server, "--json", "--listen", "0"], &GOALS[..]].concat());
        let address = gateway.next("listening")["address"].as_str().unwrap().to_owned();
        let port = address.rsplit_once(':').unwrap().1.to_owned();
        Self { served, gateway, port }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn up(port: u16) {
    let until = Instant::now() + SOON;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on {port}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    (output.status.success(), said)
}

/// Runs `ask` until it says `wanted`.
fn until(wanted: &str, mut ask: impl FnMut() -> String) -> Duration {
    let began = Instant::now();
    loop {
        let said = ask();
        if said == wanted {
            return began.elapsed();
        }
        assert!(began.elapsed() < SOON, "it says {said:?}, not {wanted:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn redis_and_redis_cli() {
    let (Some(redis), Some(cli)) = (installed("redis-server"), installed("redis-cli")) else { return };
    isolated!(|| {
        let port = free_port();
        let folder = TempDir::new().unwrap();
        let mut server = Command::new(&redis);
        server.args(["--port", &port.to_string(), "--save", "", "--tcp-keepalive", "0"]);
        server.current_dir(folder.path()).stdout(Stdio::null());
        let _redis = Program::from(server.spawn().unwrap());
        up(port);
        let mut way = Way::to(port);
        let through = way.port.clone();
        let ask = |port: &str, args: &[&str]| run(Command::new(&cli).args(["-p", port]).args(args));
        assert_eq!(ask(&through, &["SET", "said", "hello"]), (true, "OK".to_owned()));
        assert_eq!(ask(&through, &["GET", "said"]).1, "hello");

        // It would wait for ever.
        let waiting = |port: &str| {
            let mut command = Command::new(&cli);
            command.args(["-p", port, "BLPOP", "nothing", "0"]).stdin(Stdio::null());
            Program::from(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        };
        let direct = port.to_string();
        let blocked = || {
            let (_, info) = ask(&direct, &["INFO", "clients"]);
            let line = info.lines().find(|line| line.starts_with("blocked_clients")).unwrap().to_owned();
            line.trim().to_owned()
        };

        // Who serves freezes: redis-cli is told.
        let mut waits = waiting(&through);
        until("blocked_clients:1", blocked);
        let frozen = freeze(&mut way.served.program).unwrap();
        let began = Instant::now();
        let status = waits.wait().unwrap();
        let after = began.elapsed();
        assert!(after <= IN_TIME && !status.success(), "{status} after {after:?}");
        assert_eq!(way.gateway.next("died")["cause"], "hung");
        drop(frozen);
        until("blocked_clients:0", blocked);

        // Who connects freezes: redis is told, and does not hold the client any longer.
        let mut waits = waiting(&through);
        until("blocked_clients:1", blocked);
        let frozen = freeze(&mut way.gateway.program).unwrap();
        let after = until("blocked_clients:0", blocked);
        assert!(after <= IN_TIME, "{after:?}");
        drop(frozen);
        assert!(!waits.wait().unwrap().success());
        assert_eq!(ask(&through, &["GET", "said"]).1, "hello");
    });
}

/// Runs as somebody else than root, whom PostgreSQL refuses, in a user namespace of its own.
fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534", "--", program]);
    command
}

fn postgres(initdb: &str, postgres: &str, folder: &Path, port: u16) -> Program {
    let data = folder.join("data");
    let data = data.to_str().unwrap();
    let made =
        run(as_nobody(initdb).args(["--no-sync", "--no-locale", "-A", "trust", "-U", "me", "-D", data]));
    assert!(made.0, "{}", made.1);
    let mut server = as_nobody(postgres);
    // Nothing but the pair notices anything in time: no keepalive, no user timeout.
    server.args(["-D", data, "-F", "-h", "127.0.0.1", "-p", &port.to_string(), "-k", "", "-c"]);
    server.args(["tcp_keepalives_idle=7200", "-c", "log_destination=stderr"]);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Program::from(server.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

#[test]
fn postgresql_and_psql() {
    let (Some(initdb), Some(server), Some(psql)) =
        (installed("initdb"), installed("postgres"), installed("psql"))
    else {
        return;
    };
    isolated!(|| {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        let _postgres = postgres(&initdb, &server, folder.path(), port);
        up(port);
        let mut way = Way::to(port);
        let through = way.port.clone();
        let direct = port.to_string();
        let psql = |port: &str, sql: &str| {
            let mut command = Command::new(&psql);
            command.args([
                "-h",
                "127.0.0.1",
                "-p",
                port,
                "-U",
                "me",
                "-X",
                "-q",
                "-t",
                "-A",
                "-c",
                sql,
                "postgres",
            ]);
            command
        };
        until("42", || run(&mut psql(&direct, "SELECT 42")).1);
        assert_eq!(run(&mut psql(&through, "SELECT 6 * 7")), (true, "42".to_owned()));

        // It holds a lock that others wait for.
        const HOLD: &str = "BEGIN; SELECT pg_advisory_xact_lock(7); SELECT pg_sleep(3600)";
        let hold = || {
            let mut command = psql(&through, HOLD);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            Program::from(command.spawn().unwrap())
        };
        let sleeping = || {
            let asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            run(&mut psql(&direct, asked)).1
        };

        // Who serves freezes: psql is told.
        let mut holds = hold();
        until("1", sleeping);
        let frozen = freeze(&mut way.served.program).unwrap();
        let began = Instant::now();
        let status = holds.wait().unwrap();
        let after = began.elapsed();
        assert!(after <= IN_TIME && !status.success(), "{status} after {after:?}");
        drop(frozen);
        let died = way.gateway.next("died");
        assert_eq!(died["cause"], "hung", "{died}");
        run(&mut psql(
            &direct,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        ));
        until("0", sleeping);

        // Who connects freezes: the idle backend ends, and with it its transaction.
        let mut idle = psql(&through, "");
        idle.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut idle = Program::from(idle.spawn().unwrap());
        let mut says = idle.stdin.take().unwrap();
        std::io::Write::write_all(&mut says, b"BEGIN; SELECT pg_advisory_xact_lock(7);\n").unwrap();
        let held = || run(&mut psql(&direct, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).1;
        until("1", held);
        let frozen = freeze(&mut way.gateway.program).unwrap();
        let after = until("0", held);
        assert!(after <= IN_TIME, "{after:?}");
        drop(frozen);
        // The first one to be told of went while it was frozen itself.
        while way.served.next("died")["cause"] != "hung" {}
        assert_eq!(run(&mut psql(&through, "SELECT 'again'")).1, "again");
    });
}
