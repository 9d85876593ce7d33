//! Programs that nobody here wrote: their connections through a router that stops forwarding.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{deadpeer, installed, verdict};
use deadpeer_lab::{Network, Place, Program, isolated};
use serde_json::Value;

fn connect(network: &Network, to: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match network.left(|| TcpStream::connect(to)) {
            Ok(stream) => return stream,
            Err(error) if Instant::now() > deadline => panic!("{to} does not come up: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn scan(network: &Network, args: &[&str]) -> Vec<Value> {
    let mut command = deadpeer();
    command.args(["scan", "--json", "--probe"]).args(args).stdout(Stdio::piped());
    let mut program = network.spawn(Place::Right, &mut command).unwrap();
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(program.wait().unwrap().success());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn redis_and_nginx_lose_their_clients_and_get_them_back() {
    let (Some(_), Some(_)) = (installed("redis-server"), installed("nginx")) else { return };
    isolated!(|| {
        let network = Network::new().unwrap();
        let folder = std::env::temp_dir().join(format!("deadpeer-servers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let _redis: Program = network
            .spawn(
                Place::Right,
                Command::new("redis-server")
                    .args(["--port", "6379", "--bind", "0.0.0.0", "--save", "", "--protected-mode", "no"])
                    .args(["--tcp-keepalive", "0"])
                    .current_dir(&folder)
                    .stdout(Stdio::null()),
            )
            .unwrap();
        let config = folder.join("nginx.conf");
        let text = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error;\nevents {{}}\n\
             http {{ access_log off; keepalive_timeout 600s; client_body_temp_path {0}; proxy_temp_path {0};\n\
             fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
             server {{ listen 8080; location / {{ return 200 'hello'; }} }} }}",
            folder.display()
        );
        std::fs::write(&config, text).unwrap();
        let _nginx: Program = network
            .spawn(Place::Right, Command::new("nginx").arg("-c").arg(&config).stderr(Stdio::null()))
            .unwrap();
        let right = Network::RIGHT_V4[0];
        let mut redis = connect(&network, (right, 6379).into());
        redis.write_all(b"PING\r\n").unwrap();
        redis.read_exact(&mut [0; 7]).unwrap();
        let mut nginx = connect(&network, (right, 8080).into());
        nginx.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        nginx.read_exact(&mut [0; 12]).unwrap();
        // A connection of the same servers that does not go through the router.
        let local = network.right(|| TcpStream::connect((right, 6379))).unwrap();

        let cut = network.cut_off(right.into()).unwrap();
        let rows = scan(&network, &["process:redis*,nginx"]);
        let dead: Vec<_> = rows.iter().filter(|row| row["verdict"] == "dead").collect();
        assert_eq!(dead.len(), 2, "{rows:#?}");
        for row in &dead {
            assert_eq!(verdict(row), "dead questions-unanswered");
            assert_eq!(row["peer"].as_str().unwrap().split(':').next(), Some("10.99.1.2"));
        }
        let near = rows.iter().find(|row| row["peer"] == local.local_addr().unwrap().to_string()).unwrap();
        assert_eq!(verdict(near), "alive answered");
        cut.heal().unwrap();
        let rows = scan(&network, &["process:redis*,nginx"]);
        assert_eq!(rows.iter().filter(|row| row["verdict"] == "alive").count(), 3, "{rows:#?}");
        std::fs::remove_dir_all(&folder).unwrap();
    });
}
