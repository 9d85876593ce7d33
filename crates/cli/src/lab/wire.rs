//! Which segments left and came, for the time lines: where the lab owns the link and may look.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpeer_lab::{Capture, Segment};

use super::html::Passed;
use super::run::Place;

/// Captures until told to stop. Filling windows passes gigabytes: only what is small is kept.
pub(super) fn capture(stop: &AtomicBool) -> Vec<Segment> {
    const SMALL: usize = 2048;
    const SLICE: Duration = Duration::from_millis(100);
    let Ok(mut capture) = Capture::start() else { return Vec::new() };
    let mut segments = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match capture.next(SLICE) {
            Ok(Some(segment)) if segment.data <= SMALL => segments.push(segment),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    segments
}

/// Finds out whose segments they were: those from a second before the fault on.
pub(super) fn assign(segments: &[Segment], places: &[Place]) -> Vec<Passed> {
    let mut passed = Vec::new();
    for place in places {
        for segment in segments {
            let (from, to) = (SocketAddr::V4(segment.from), SocketAddr::V4(segment.to));
            let ours = (from, to) == (place.local, place.peer);
            let theirs = (from, to) == (place.peer, place.local);
            let after = segment.at.checked_duration_since(place.since).filter(|_| ours || theirs);
            if let Some(after) = after {
                passed.push(Passed {
                    fault: place.fault,
                    method: place.method,
                    after,
                    ours,
                    data: segment.data,
                    fin: segment.fin,
                    rst: segment.rst,
                });
            }
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::lab::fault::Fault;
    use crate::lab::method::Method;

    #[test]
    fn segments_find_their_connection_and_their_direction() {
        let since = Instant::now();
        let [ours, peer, other] =
            [1, 2, 3].map(|port| std::net::SocketAddrV4::new([127, 0, 0, 1].into(), port));
        let at = |ms: u64| since + Duration::from_millis(ms);
        let segment = |ms, from, to| Segment { at: at(ms), from, to, data: 0, fin: false, rst: false };
        let (fault, method) = (Fault::Silent, Method::Keepalive);
        let place = Place { fault, method, local: ours.into(), peer: peer.into(), since };
        let seen = [(ours, peer), (peer, ours), (other, peer), (ours, other)];
        let seen: Vec<_> = (5..).zip(seen).map(|(ms, (from, to))| segment(ms, from, to)).collect();
        let passed: Vec<_> =
            assign(&seen, &[place]).iter().map(|passed| (passed.after, passed.ours)).collect();
        let millis = Duration::from_millis;
        assert_eq!(passed, [(millis(5), true), (millis(6), false)]);
    }
}
