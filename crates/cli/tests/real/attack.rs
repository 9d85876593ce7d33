//! Situations in which verdicts were wrong once: what comes before a question, what comes of itself, ends while peers
//! are asked, paths that became faster.

use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use deadpeer_lab::{Direction, ImpairedLink, Impairment, Pair, Program, Side, isolated, skip};
use serde_json::Value;

use crate::common::{deadpeer, row, verdict};
use crate::verdicts::output;

const SECOND: Duration = Duration::from_secs(1);
const PEER: IpAddr = IpAddr::V4(ImpairedLink::RIGHT_V4[0]);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A link for a test, or none where this machine can't have one.
fn link(test: &str) -> Option<ImpairedLink> {
    ImpairedLink::with_seed(12).map_err(|unavailable| skip(test, &unavailable)).ok()
}

/// Starts a scan in the left host.
fn start(link: &ImpairedLink, args: &[&str]) -> Program {
    let mut command = deadpeer();
    command.args(["scan", "--json"]).args(args).stdout(Stdio::piped());
    link.spawn(Side::Left, &mut command).unwrap()
}

fn scan(link: &ImpairedLink, args: &[&str]) -> Vec<Value> {
    output(start(link, args))
}

/// Without CAP_NET_ADMIN.
fn scan_unprivileged(link: &ImpairedLink) -> Vec<Value> {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"]);
    command.arg(env!("CARGO_BIN_EXE_deadpeer")).args(["scan", "--json", "--probe"]).stdout(Stdio::piped());
    output(link.spawn(Side::Left, &mut command).unwrap())
}

fn local(pair: &Pair) -> SocketAddr {
    pair.client.local_addr().unwrap()
}

fn cut() -> Impairment {
    Impairment::new().drop_all()
}

fn keepalive_each_second(stream: &TcpStream) {
    let values = socket2::TcpKeepalive::new().with_time(SECOND).with_interval(SECOND).with_retries(100);
    socket2::SockRef::from(stream).set_tcp_keepalive(&values).unwrap();
}

#[test]
fn what_came_before_a_peer_had_its_turn_is_no_answer() {
    isolated!(|| {
        let Some(link) = link("what_came_before_a_peer_had_its_turn_is_no_answer") else { return };
        let pairs: Vec<_> =
            ImpairedLink::RIGHT_V4.map(|peer| Pair::across(&link, peer.into()).unwrap()).into();
        // All are listed at once, and asked one a second.
        let asking = start(&link, &["--probe", "--rate", "1", "--tries", "1", "--timeout", "2s"]);
        sleep(ms(700));
        for mut server in pairs.iter().map(|pair| &pair.server) {
            server.write_all(b"the last word").unwrap();
        }
        sleep(ms(100));
        link.set(Direction::Both, cut());
        let rows = output(asking);
        let told: Vec<_> = pairs.iter().map(|pair| verdict(row(&rows, local(pair)))).collect();
        assert!(!told.contains(&"alive heard".into()), "{told:?}");
        assert!(told.iter().any(|told| told.starts_with("suspect")), "{told:?}");
    });
}

#[test]
fn keepalive_of_the_peer_is_a_sign_of_life_where_our_questions_are_lost() {
    isolated!(|| {
        let test = "keepalive_of_the_peer_is_a_sign_of_life_where_our_questions_are_lost";
        let Some(link) = link(test) else { return };
        let pair = Pair::across(&link, PEER).unwrap();
        keepalive_each_second(&pair.server);
        sleep(ms(2_500));
        link.set(Direction::LeftToRight, cut());
        let rows = scan(&link, &["--probe"]);
        assert_eq!(verdict(row(&rows, local(&pair))), "alive heard", "{rows:#?}");
        // Once it stops, too, its peer is dead.
        link.set(Direction::Both, cut());
        let rows = scan(&link, &["--probe"]);
        assert_eq!(verdict(row(&rows, local(&pair))), "dead questions-unanswered", "{rows:#?}");
    });
}

#[test]
fn an_answer_over_a_path_that_became_faster_is_one() {
    isolated!(|| {
        let Some(link) = link("an_answer_over_a_path_that_became_faster_is_one") else { return };
        link.set(Direction::Both, Impairment::new().delay(ms(700)));
        let pair = Pair::across(&link, PEER).unwrap();
        sleep(ms(2_000)); // the handshake's last segment arrives, and a second of silence passes
        link.heal();
        let rows = scan(&link, &["--probe", "--tries", "1"]);
        assert_eq!(verdict(row(&rows, local(&pair))), "alive answered", "{rows:#?}");
        sleep(ms(1_100));
        let started = Instant::now();
        let rows = scan_unprivileged(&link);
        assert_eq!(verdict(row(&rows, local(&pair))), "alive answered", "{rows:#?}");
        assert!(started.elapsed() < SECOND * 10, "{:?}", started.elapsed());
    });
}

#[test]
fn an_outage_that_ends_before_the_last_question_is_no_death() {
    isolated!(|| {
        let test = "an_outage_that_ends_before_the_last_question_is_no_death";
        let Some(link) = link(test) else { return };
        let pair = Pair::across(&link, PEER).unwrap();
        link.set(Direction::Both, cut());
        let asking = start(&link, &["--probe"]);
        sleep(ms(8_300));
        link.heal();
        let rows = output(asking);
        assert_eq!(verdict(row(&rows, local(&pair))), "alive answered", "{rows:#?}");
    });
}

#[test]
fn half_closed_over_a_slow_path_while_asked_it_is_no_suspect() {
    isolated!(|| {
        let test = "half_closed_over_a_slow_path_while_asked_it_is_no_suspect";
        let Some(link) = link(test) else { return };
        let pair = Pair::across(&link, PEER).unwrap();
        link.set(Direction::Both, Impairment::new().delay(SECOND * 2));
        let asking = start(&link, &["--probe"]);
        sleep(SECOND);
        pair.client.shutdown(Shutdown::Write).unwrap();
        let rows = output(asking);
        assert_eq!(verdict(row(&rows, local(&pair))), "alive answered", "{rows:#?}");
    });
}

#[test]
fn an_owner_that_closes_while_its_peer_is_asked_ends_the_asking() {
    isolated!(|| {
        let test = "an_owner_that_closes_while_its_peer_is_asked_ends_the_asking";
        let Some(link) = link(test) else { return };
        let [closed, half_closed, destroyed] = [0, 1, 2].map(|_| Pair::across(&link, PEER).unwrap());
        link.set(Direction::Both, cut());
        let locals = [&closed, &half_closed, &destroyed].map(local);
        let asking = start(&link, &["--probe"]);
        let started = Instant::now();
        sleep(ms(1_500));
        drop(closed.client);
        half_closed.client.shutdown(Shutdown::Write).unwrap();
        let mut ss = Command::new("ss");
        ss.args(["-K", "sport", "=", &format!(":{}", locals[2].port())]).stdout(Stdio::null());
        assert!(link.spawn(Side::Left, &mut ss).unwrap().wait().unwrap().success());
        let rows = output(asking);
        // Who only half-closed may still be answered, over a round trip that rose.
        assert!(started.elapsed() < SECOND * 20, "{:?}", started.elapsed());
        let [closed, half_closed, destroyed] = locals.map(|local| row(&rows, local));
        assert_eq!(verdict(closed), "closing closed-here");
        assert_eq!(verdict(half_closed), "suspect questions-unanswered", "{half_closed:#}");
        assert_eq!(half_closed["state"], "fin-wait-1");
        assert!(half_closed["evidence"].to_string().contains("our own way is up"), "{half_closed:#}");
        assert_eq!(verdict(destroyed), "ended unknown");
        // Nobody has taken its error.
        let text = destroyed["evidence"][0]["text"].as_str().unwrap();
        assert!(text.contains("an abort by this host"), "{text}");
    });
}
