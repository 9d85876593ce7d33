//! Programs that are killed or hang, on either side.

use std::time::{Duration, Instant};

use deadpeer_lab::freeze;

use crate::served::Served;
use crate::told::Told;

const GOALS: [&str; 4] = ["--detect", "3s", "--tolerate", "1s"];
const DETECT: Duration = Duration::from_secs(3);
/// Beyond the promise, on a machine that does other things as well.
const LATE: Duration = Duration::from_millis(1_000);

fn pair() -> (Served, Told) {
    let mut served = Served::start("127.0.0.1:0", &GOALS);
    let address = served.address.to_string();
    let mut client = Told::start(&[&["connect", &address, "--json", "--id", "client"], &GOALS[..]].concat());
    client.next("arrived");
    served.next("arrived");
    (served, client)
}

#[test]
fn a_client_that_hangs_is_told_in_time_and_one_that_is_killed_at_once() {
    let (mut served, mut client) = pair();
    let began = Instant::now();
    let frozen = freeze(&mut client.program).unwrap();
    let died = served.next("died");
    let after = began.elapsed();
    assert!(after <= DETECT + LATE, "{after:?}");
    assert_eq!((&died["id"], &died["cause"]), (&"client".into(), &"hung".into()), "{died}");
    let silent = died["silent_ms"].as_f64().unwrap();
    assert!(silent > 1_000.0 && silent <= 3_500.0, "{died}");
    // Awake again, it finds itself given up, and comes back.
    drop(frozen);
    client.next("waiting");
    client.next("arrived");
    served.next("arrived");
    client.program.kill().unwrap();
    let began = Instant::now();
    let died = served.next("died");
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    // A killed program's kernel closes; or resets, where something was unread.
    assert!(["closed", "reset"].contains(&died["cause"].as_str().unwrap()), "{died}");
}

#[test]
fn a_server_that_hangs_is_given_up_and_its_client_comes_back_to_it() {
    let (mut served, mut client) = pair();
    let began = Instant::now();
    let frozen = freeze(&mut served.program).unwrap();
    let died = client.next("died");
    let after = began.elapsed();
    assert!(after <= DETECT + LATE, "{after:?}");
    assert_eq!(died["cause"], "hung", "{died}");
    // Its kernel accepts; that it does not greet is as bad.
    let refused = client.next("refused");
    assert_eq!(refused["cause"], "silent", "{refused}");
    client.next("waiting");
    drop(frozen);
    served.next("arrived");
    client.next("arrived");
}

#[test]
fn a_short_hang_of_either_kills_nobody() {
    let (mut served, mut client) = pair();
    for _ in 0..3 {
        let frozen = freeze(&mut client.program).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        drop(frozen);
        let frozen = freeze(&mut served.program).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        drop(frozen);
    }
    for told in [&mut *served, &mut client] {
        let told = told.during(LATE);
        assert!(told.iter().all(|event| event["event"] == "arrived"), "{told:?}");
    }
}
