//! Verdicts on networks that delay, lose and drop packets: healthy connections are never called dead, and dead ones
//! are found all the same.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{deadpeer, row, verdict};
use crate::verdicts::output;
use deadpeer_lab::{Chance, Direction, ImpairedLink, Impairment, Pair, Rejection, Side, isolated, skip};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const PEER: IpAddr = IpAddr::V4(ImpairedLink::RIGHT_V4[0]);

/// Links for a test, or none where this machine can't have them.
fn links<const N: usize>(test: &str) -> Option<[ImpairedLink; N]> {
    let made: Result<Vec<_>, _> = (0..N as u64).map(|n| ImpairedLink::with_seed(7 + n)).collect();
    match made {
        Ok(links) => links.try_into().ok(),
        Err(unavailable) => {
            skip(test, &unavailable);
            None
        }
    }
}

/// Scans in the left host.
fn scan(link: &ImpairedLink, args: &[&str]) -> Vec<Value> {
    let mut command = deadpeer();
    command.args(["scan", "--json"]).args(args).stdout(Stdio::piped());
    output(link.spawn(Side::Left, &mut command).unwrap())
}

fn delay(each_way: Duration) -> Impairment {
    Impairment::new().delay(each_way)
}

fn of<'r>(rows: &'r [Value], stream: &TcpStream) -> &'r Value {
    row(rows, stream.local_addr().unwrap())
}

/// The piece of evidence of this kind.
fn evidence<'r>(row: &'r Value, kind: &str) -> &'r Value {
    let pieces = row["evidence"].as_array().unwrap();
    pieces.iter().find(|piece| piece["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {row:#}"))
}

/// This process may hold as many descriptors as it can get.
fn many_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|most| most.min(20_000)).or(Some(20_000));
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Connections to one peer.
fn crowd(link: &ImpairedLink, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = link.right(|| TcpListener::bind((PEER, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    link.left(|| {
        let ends = (0..count).map(|_| {
            let client = TcpStream::connect(address)?;
            Ok((client, listener.accept()?.0))
        });
        ends.collect()
    })
    .unwrap()
}

#[test]
fn a_long_round_trip_is_no_death_known_or_not() {
    isolated!(|| {
        let Some([known, risen, longer]) = links("a_long_round_trip_is_no_death_known_or_not") else {
            return;
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                known.set(Direction::Both, delay(SECOND * 2));
                let pair = Pair::across(&known, PEER).unwrap();
                let rows = scan(&known, &["--probe"]);
                let row = of(&rows, &pair.client);
                assert_eq!(verdict(row), "alive answered", "{row:#}");
                // TCP knows the round trip: the answer can't belong to a question that left later.
                assert!(row["probe_least_ms"].as_f64().unwrap() >= 3_990.0, "{row:#}");
            });
            for (link, seconds) in [(&risen, 4), (&longer, 6)] {
                scope.spawn(move || {
                    let pair = Pair::across(link, PEER).unwrap();
                    link.set(Direction::Both, delay(SECOND * seconds / 2));
                    let rows = scan(link, &["--probe"]);
                    let row = of(&rows, &pair.client);
                    assert_eq!(verdict(row), "alive answered", "{row:#}");
                    let range = ["probe_least_ms", "probe_most_ms"].map(|key| row[key].as_f64().unwrap());
                    let truth = f64::from(seconds) * 1000.0;
                    // A busy machine's router delays more than it was told to.
                    assert!(range[0] <= truth + 3_000.0 && truth - 10.0 <= range[1], "{range:?}");
                    assert!(row["probe_ms"].is_null() && row["unknown"]["probe_ms"].is_string(), "{row:#}");
                });
            }
        });
    });
}

#[test]
fn a_dead_peer_is_proven_with_nine_questions_and_the_odds_are_told() {
    isolated!(|| {
        let test = "a_dead_peer_is_proven_with_nine_questions_and_the_odds_are_told";
        let Some([link, hurried]) = links(test) else { return };
        thread::scope(|scope| {
            scope.spawn(|| {
                let pair = Pair::across(&link, PEER).unwrap();
                link.set(Direction::Both, Impairment::new().drop_all());
                let started = Instant::now();
                let rows = scan(&link, &["--probe"]);
                let took = started.elapsed();
                let row = of(&rows, &pair.client);
                assert_eq!(verdict(row), "dead questions-unanswered", "{row:#}");
                // Asking goes on until the end: a tenth question may have had its time, too.
                let tries = row["tries"].as_u64().unwrap();
                assert!([9, 10].contains(&tries), "{row:#}");
                let certainty = evidence(row, "certainty");
                let odds = if tries == 9 { 3_000_000 } else { 16_000_000 };
                assert_eq!(
                    (&certainty["loss_permille"], &certainty["false_once_in"]),
                    (&100.into(), &odds.into())
                );
                assert!((SECOND * 10..SECOND * 15).contains(&took), "{took:?}");
            });
            scope.spawn(|| {
                let pair = Pair::across(&hurried, PEER).unwrap();
                hurried.set(Direction::Both, Impairment::new().drop_all());
                let rows = scan(&hurried, &["--probe", "--timeout", "4s"]);
                let row = of(&rows, &pair.client);
                assert_eq!(verdict(row), "suspect questions-unanswered", "{row:#}");
                let takes = evidence(row, "proof-takes");
                assert_eq!((&takes["count"], takes["over_ms"].as_f64()), (&9.into(), Some(10_000.0)));
            });
        });
    });
}

#[test]
fn two_thousand_healthy_connections_on_lossy_paths_live() {
    isolated!(|| {
        let Some(links) = links::<3>("two_thousand_healthy_connections_on_lossy_paths_live") else { return };
        many_descriptors();
        let percent = |percent| Impairment::new().lose(Chance::percent(percent));
        let paths = [percent(10), percent(30), percent(30).delay(Duration::from_millis(1_100))];
        // Answers of 6,000 peers, in turn: the machine is small.
        for (link, path) in links.iter().zip(paths) {
            let crowd = crowd(link, 2_000);
            link.set(Direction::Both, path);
            let rows = scan(link, &["--probe"]);
            let rows: Vec<_> = rows.iter().filter(|row| row["state"] == "established").collect();
            assert_eq!(rows.len(), crowd.len());
            let dead: Vec<_> = rows.iter().filter(|row| row["verdict"] == "dead").collect();
            assert!(dead.is_empty(), "{} dead: {:#}", dead.len(), dead[0]);
            let alive = rows.iter().filter(|row| row["verdict"] == "alive").count();
            assert!(alive >= crowd.len() - 2, "only {alive} alive");
        }
    });
}

#[test]
fn peers_that_die_at_once_are_all_found_however_slow_the_pace() {
    isolated!(|| {
        let Some([link]) = links("peers_that_die_at_once_are_all_found_however_slow_the_pace") else {
            return;
        };
        let crowd = crowd(&link, 400);
        link.set(Direction::Both, Impairment::new().drop_all());
        // 3,600 questions take 12 s at this pace, and 10 s without any.
        let rows = scan(&link, &["--probe", "--rate", "300", "--timeout", "11s"]);
        let dead = rows.iter().filter(|row| row["verdict"] == "dead").count();
        assert_eq!(dead, crowd.len(), "of {} rows", rows.len());
    });
}

#[test]
fn a_lossy_path_takes_more_questions_until_death_is_proven() {
    isolated!(|| {
        let Some([link]) = links("a_lossy_path_takes_more_questions_until_death_is_proven") else { return };
        let crowd = crowd(&link, 300);
        let gone = link.right(|| TcpListener::bind((ImpairedLink::RIGHT_V4[1], 0))).unwrap();
        let address = gone.local_addr().unwrap();
        let gone_too = link.left(|| TcpStream::connect(address)).unwrap();
        link.set(Direction::Both, Impairment::new().lose(Chance::percent(30)));
        link.set_for(address.ip(), Direction::Both, Impairment::new().drop_all());
        let rows = scan(&link, &["--probe"]);
        let row = of(&rows, &gone_too);
        assert_eq!(verdict(row), "dead questions-unanswered", "{row:#}");
        assert!(row["tries"].as_u64().unwrap() >= 19, "{row:#}");
        assert!(evidence(row, "certainty")["loss_permille"].as_u64().unwrap() >= 270, "{row:#}");
        drop(crowd);
    });
}

#[test]
fn a_peer_that_limits_its_answers_is_not_called_dead_for_it() {
    isolated!(|| {
        let Some([link]) = links("a_peer_that_limits_its_answers_is_not_called_dead_for_it") else { return };
        link.right(|| std::fs::write("/proc/sys/net/ipv4/tcp_invalid_ratelimit", "15000")).unwrap();
        let pair = Pair::across(&link, PEER).unwrap();
        thread::sleep(Duration::from_millis(1_500)); // the handshake is no longer the last sign of life
        let first = scan(&link, &["--probe"]);
        assert_eq!(verdict(of(&first, &pair.client)), "alive answered");
        let again = scan(&link, &["--probe"]);
        let row = of(&again, &pair.client);
        assert_eq!(verdict(row), "alive answered", "{row:#}");
        assert!(row["tries"].as_u64().unwrap() > 9, "{row:#}");
    });
}

#[test]
fn an_outage_that_goes_on_is_suspect_in_a_plain_scan() {
    isolated!(|| {
        let Some([outage, risen]) = links("an_outage_that_goes_on_is_suspect_in_a_plain_scan") else {
            return;
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut pair = Pair::across(&outage, PEER).unwrap();
                outage.set(Direction::Both, Impairment::new().drop_all());
                pair.client.write_all(&[7; 1000]).unwrap();
                thread::sleep(Duration::from_millis(3_600));
                let rows = scan(&outage, &[]);
                let row = of(&rows, &pair.client);
                assert_eq!(row["verdict"], "suspect", "{row:#}");
                assert_eq!(evidence(row, "proof-takes")["count"], 9);
            });
            scope.spawn(|| {
                let mut pair = Pair::across(&risen, PEER).unwrap();
                risen.set(Direction::Both, delay(SECOND * 2));
                pair.client.write_all(&[7; 1000]).unwrap();
                thread::sleep(Duration::from_millis(3_200));
                let row_of = |rows: Vec<Value>| of(&rows, &pair.client).clone();
                let row = row_of(scan(&risen, &[]));
                assert_eq!(row["verdict"], "suspect", "{row:#}");
                thread::sleep(SECOND * 2);
                assert_eq!(row_of(scan(&risen, &[]))["verdict"], "alive");
            });
        });
    });
}

#[test]
fn an_mtu_black_hole_is_a_stall_with_the_size_of_its_segments() {
    isolated!(|| {
        let test = "an_mtu_black_hole_is_a_stall_with_the_size_of_its_segments";
        let Some([hole, healed]) = links(test) else { return };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut pair = Pair::across(&hole, PEER).unwrap();
                hole.set(Direction::LeftToRight, Impairment::new().drop_longer_than(1_000));
                pair.client.write_all(&[7; 20_000]).unwrap();
                thread::sleep(SECOND);
                let rows = scan(&hole, &["--probe"]);
                let row = of(&rows, &pair.client);
                assert_eq!(verdict(row), "stalled mtu-black-hole", "{row:#}");
                let segment = evidence(row, "stuck")["segment"].as_u64().unwrap();
                assert!((1_300..=1_460).contains(&segment), "{row:#}");
            });
            // After an outage, too, questions are answered before the next retransmission is due.
            scope.spawn(|| {
                let mut pair = Pair::across(&healed, PEER).unwrap();
                healed.set(Direction::Both, Impairment::new().drop_all());
                pair.client.write_all(&[7; 20_000]).unwrap();
                thread::sleep(SECOND * 4);
                healed.heal();
                let rows = scan(&healed, &["--probe"]);
                let row = of(&rows, &pair.client);
                assert_eq!(verdict(row), "alive answered", "{row:#}");
            });
        });
    });
}

#[test]
fn data_that_arrives_while_questions_are_lost_is_heard_and_no_answer() {
    isolated!(|| {
        let test = "data_that_arrives_while_questions_are_lost_is_heard_and_no_answer";
        let Some([link]) = links(test) else { return };
        let mut pair = Pair::across(&link, PEER).unwrap();
        link.set(Direction::LeftToRight, Impairment::new().drop_all());
        let rows = thread::scope(|scope| {
            let rows = scope.spawn(|| scan(&link, &["--probe"]));
            thread::sleep(SECOND * 2);
            pair.server.write_all(b"I am here").unwrap();
            rows.join().unwrap()
        });
        let row = of(&rows, &pair.client);
        assert_eq!(verdict(row), "alive heard", "{row:#}");
        assert!(row["probe_ms"].is_null());
    });
}

#[test]
fn a_reset_is_told_while_its_error_is_pending_and_not_guessed_afterwards() {
    isolated!(|| {
        let test = "a_reset_is_told_while_its_error_is_pending_and_not_guessed_afterwards";
        let Some([pending, taken, timed_out]) = links(test) else { return };
        let reject = Impairment::new().reject(Rejection::Reset);
        thread::scope(|scope| {
            scope.spawn(|| {
                let pair = Pair::across(&pending, PEER).unwrap();
                pending.set(Direction::LeftToRight, reject);
                let rows = scan(&pending, &["--probe"]);
                assert_eq!(verdict(of(&rows, &pair.client)), "dead reset");
            });
            scope.spawn(|| {
                // The program reads, takes the error at once, and keeps its descriptor.
                let pair = Pair::across(&taken, PEER).unwrap();
                let local = pair.client.local_addr().unwrap();
                taken.set(Direction::LeftToRight, reject);
                let both = Barrier::new(2);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        both.wait();
                        (&pair.client).read(&mut [0]).unwrap_err();
                        both.wait();
                    });
                    both.wait();
                    thread::sleep(Duration::from_millis(100));
                    let rows = scan(&taken, &["--probe"]);
                    both.wait();
                    // Whether the reader or the scan was first is up to the scheduler.
                    let told = verdict(row(&rows, local));
                    assert!(["ended unknown", "dead reset"].contains(&told.as_str()), "{told}");
                });
            });
            scope.spawn(|| {
                // Its own keepalive ends it while it is asked: an error is pending, and no reset came.
                let pair = Pair::across(&timed_out, PEER).unwrap();
                let values =
                    socket2::TcpKeepalive::new().with_time(SECOND).with_interval(SECOND).with_retries(2);
                socket2::SockRef::from(&pair.client).set_tcp_keepalive(&values).unwrap();
                let local = pair.client.local_addr().unwrap();
                timed_out.set(Direction::Both, Impairment::new().drop_all());
                let rows = scan(&timed_out, &["--probe"]);
                assert_eq!(verdict(row(&rows, local)), "ended unknown");
            });
        });
    });
}

#[test]
fn half_closed_here_its_peer_is_asked_by_keepalive() {
    isolated!(|| {
        let Some([living, dead]) = links("half_closed_here_its_peer_is_asked_by_keepalive") else { return };
        thread::scope(|scope| {
            for (link, expected) in [(&living, "alive answered"), (&dead, "suspect questions-unanswered")] {
                scope.spawn(move || {
                    let pair = Pair::across(link, PEER).unwrap();
                    pair.client.shutdown(Shutdown::Write).unwrap();
                    thread::sleep(Duration::from_millis(1_500));
                    if expected.starts_with("suspect") {
                        link.set(Direction::Both, Impairment::new().drop_all());
                    }
                    let mut command = deadpeer();
                    command.args(["scan", "--json", "--probe", "--fail-on", "suspect,dead"]);
                    let program = link.spawn(Side::Left, command.stdout(Stdio::piped())).unwrap();
                    let (rows, code) = ended(program);
                    let row = of(&rows, &pair.client);
                    assert_eq!(
                        (verdict(row).as_str(), &row["state"]),
                        (expected, &"fin-wait-2".into()),
                        "{row:#}"
                    );
                    assert_eq!(code, Some(i32::from(expected.starts_with("suspect"))));
                    assert!(!socket2::SockRef::from(&pair.client).keepalive().unwrap(), "given back");
                });
            }
        });
    });
}

/// Rows and the exit status.
fn ended(mut program: deadpeer_lab::Program) -> (Vec<Value>, Option<i32>) {
    let mut text = String::new();
    program.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (rows, program.wait().unwrap().code())
}

#[test]
fn half_closed_by_the_peer_it_is_healthy_while_it_streams() {
    isolated!(|| {
        let Some([link]) = links("half_closed_by_the_peer_it_is_healthy_while_it_streams") else { return };
        let mut pair = Pair::across(&link, PEER).unwrap();
        pair.server.shutdown(Shutdown::Write).unwrap();
        let local = pair.client.local_addr().unwrap();
        let told = |args: &[&str]| verdict(row(&scan(&link, args), local));
        for _ in 0..4 {
            pair.client.write_all(b"more").unwrap();
            thread::sleep(Duration::from_millis(500));
            assert_eq!(told(&["--leaked-after", "1s"]), "alive heard");
        }
        thread::sleep(SECOND);
        assert_eq!(told(&["--leaked-after", "1s"]), "leaked peer-closed");
        assert_eq!(told(&[]), "alive heard", "within the default of 10 s");
        link.set(Direction::Both, Impairment::new().drop_all());
        pair.client.write_all(b"nobody acknowledges this").unwrap();
        thread::sleep(SECOND);
        assert_eq!(told(&["--leaked-after", "1s"]), "suspect retransmissions-unanswered");
    });
}

#[test]
fn what_our_own_firewall_drops_is_our_own_trouble() {
    isolated!(|| {
        let Some([link]) = links("what_our_own_firewall_drops_is_our_own_trouble") else { return };
        let mut pair = Pair::across(&link, PEER).unwrap();
        let rules =
            "table inet t { chain c { type filter hook output priority 0; ip daddr 10.98.0.0/16 drop; }; }";
        let mut nft = Command::new("nft");
        nft.arg(rules.replace("10.98.0.0/16", &PEER.to_string()));
        assert!(link.spawn(Side::Left, &mut nft).unwrap().wait().unwrap().success());
        pair.client.write_all(&[7; 1000]).unwrap();
        thread::sleep(SECOND);
        let rows = scan(&link, &[]);
        let row = of(&rows, &pair.client);
        assert_eq!(verdict(row), "suspect local-path", "{row:#}");
        assert_eq!(evidence(row, "cannot-send")["bytes"], 1000);
    });
}

#[test]
fn without_the_right_data_in_flight_is_not_asked_for_ever() {
    isolated!(|| {
        let test = "without_the_right_data_in_flight_is_not_asked_for_ever";
        let Some([link]) = links(test) else { return };
        let mut pair = Pair::across(&link, PEER).unwrap();
        link.set(Direction::Both, Impairment::new().drop_all());
        pair.client.write_all(&[7; 1000]).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"]);
        command.arg(env!("CARGO_BIN_EXE_deadpeer")).args(["scan", "--json", "--probe"]);
        let started = Instant::now();
        let rows = output(link.spawn(Side::Left, command.stdout(Stdio::piped())).unwrap());
        assert!(started.elapsed() < SECOND * 10, "{:?}", started.elapsed());
        let row = of(&rows, &pair.client);
        assert!(row["unknown"]["probe_ms"].as_str().unwrap().contains("data is in flight"), "{row:#}");
    });
}

#[test]
fn rows_of_peers_that_answer_do_not_wait_for_silent_ones() {
    isolated!(|| {
        use std::io::{BufRead, BufReader};
        let Some([link]) = links("rows_of_peers_that_answer_do_not_wait_for_silent_ones") else { return };
        let living = Pair::across(&link, PEER).unwrap();
        let silent = Pair::across(&link, ImpairedLink::RIGHT_V4[1].into()).unwrap();
        let gone = IpAddr::from(ImpairedLink::RIGHT_V4[1]);
        link.set_for(gone, Direction::Both, Impairment::new().drop_all());
        let mut command = deadpeer();
        command.args(["scan", "--json", "--probe"]).stdout(Stdio::piped());
        let started = Instant::now();
        let mut program = link.spawn(Side::Left, &mut command).unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(first["local"], living.client.local_addr().unwrap().to_string());
        assert!(started.elapsed() < SECOND * 5, "{:?}", started.elapsed());
        let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert_eq!(rest.len(), 1, "each row once");
        assert_eq!(verdict(of(&rest, &silent.client)), "dead questions-unanswered");
        program.wait().unwrap();
    });
}

#[test]
fn ping_tells_the_time_of_an_answer_or_its_range() {
    isolated!(|| {
        let Some([known, risen]) = links("ping_tells_the_time_of_an_answer_or_its_range") else { return };
        let ping = |link: &ImpairedLink, pair: &Pair| {
            let mut command = deadpeer();
            let filter = format!("local::{}", pair.client.local_addr().unwrap().port());
            command.args(["ping", "-c", "4", "--json", &filter]).stdout(Stdio::piped());
            ended(link.spawn(Side::Left, &mut command).unwrap()).0
        };
        let slow = delay(Duration::from_millis(1_250));
        thread::scope(|scope| {
            scope.spawn(|| {
                known.set(Direction::Both, slow);
                let pair = Pair::across(&known, PEER).unwrap();
                let rows = ping(&known, &pair);
                // An answer that a busy machine delays beyond the retransmission timeout counts in the next round.
                let answered: Vec<_> = rows[..4].iter().filter(|row| row["answer"] == "answered").collect();
                assert!(answered.len() >= 2, "{rows:#?}");
                for row in answered {
                    assert!(row["time_least_ms"].as_f64().unwrap() >= 2_490.0, "{row:#}");
                }
            });
            scope.spawn(|| {
                let pair = Pair::across(&risen, PEER).unwrap();
                risen.set(Direction::Both, slow);
                let rows = ping(&risen, &pair);
                let answered: Vec<_> = rows[..4].iter().filter(|row| row["answer"] == "answered").collect();
                assert!(!answered.is_empty(), "{rows:#?}");
                for row in answered {
                    let range = ["time_least_ms", "time_most_ms"].map(|key| row[key].as_f64().unwrap());
                    assert!(range[0] <= 4_500.0 && 2_490.0 <= range[1], "{row:#}");
                }
            });
        });
    });
}
