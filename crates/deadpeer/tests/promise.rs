//! What `apply` and `guard` say of a policy that a socket does not keep.
#![cfg(target_os = "linux")] // another system has other bounds
#![allow(clippy::unwrap_used)] // a test panics where anything is amiss

use std::net::TcpListener;
use std::time::Duration;

use deadpeer::{ApplyError, Concern, Policy, PolicyBuilder, apply, guard, protection};
use deadpeer_lab::{Pair, isolated};

fn within(seconds: u64) -> PolicyBuilder {
    Policy::detect(Duration::from_secs(seconds))
}

fn shortfall(result: Result<impl Sized, ApplyError>) -> (Vec<&'static str>, String) {
    match result {
        Err(error @ ApplyError::Shortfall(_)) => {
            let text = error.to_string();
            let ApplyError::Shortfall(shortfall) = error else { unreachable!() };
            (shortfall.applied.shortfalls.iter().map(Concern::kind).collect(), text)
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn ten_seconds_that_are_fifteen_are_an_error_and_a_shortfall_where_that_is_accepted() {
    isolated!(|| {
        if !deadpeer::platform().rto_max_per_socket {
            eprintln!("skipped: this kernel has no TCP_RTO_MAX_MS");
            return;
        }
        let pair = Pair::loopback().unwrap();
        let ten = within(10).slow_readers(true).accept_rto_ceiling(true);
        let (kinds, text) = shortfall(apply(&pair.client, &ten.clone().build().unwrap()));
        assert_eq!(kinds, ["in-flight-too-late"]);
        assert!(
            text.starts_with(
                "this socket does not keep a policy of 10 s. With data in flight, a death is noticed only after up \
                 to 1"
            ) && text.contains("not within 10 s"),
            "{text}"
        );
        // The settings are there all the same.
        assert!(protection(&pair.client).unwrap().active_keepalive().is_some());
        shortfall(guard(&pair.client, &ten.clone().build().unwrap()));
        let accepted = ten.best_effort(true).build().unwrap();
        assert_eq!(apply(&pair.client, &accepted).unwrap().shortfalls.len(), 1);
        assert_eq!(guard(&pair.client, &accepted).unwrap().shortfalls()[0].kind(), "in-flight-too-late");
        // Thirty seconds are kept.
        let thirty = within(30).slow_readers(true).accept_rto_ceiling(true).build().unwrap();
        assert!(apply(&pair.client, &thirty).unwrap().shortfalls.is_empty());
    });
}

#[test]
fn slow_readers_without_a_ceiling_are_no_promise_for_data_in_flight() {
    isolated!(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let policy = within(30).slow_readers(true);
        let (kinds, text) = shortfall(apply(&listener, &policy.clone().build().unwrap()));
        assert_eq!(kinds, ["in-flight-too-late"], "{text}");
        assert!(apply(&listener, &policy.best_effort(true).build().unwrap()).unwrap().gaps.is_empty());
        // Where the system itself gives up soon enough, it is one.
        std::fs::write("/proc/sys/net/ipv4/tcp_retries2", "3").unwrap();
        let policy = within(120).slow_readers(true).build().unwrap();
        assert!(apply(&listener, &policy).unwrap().shortfalls.is_empty());
    });
}
