//! What is to be expected of each cell. Every time comes from the one formula in core.

use std::time::Duration;

use deadpeer::{Backoff, Bound, Facts, Known, Platform, Proof, detection};

use super::cell::Expected;
use super::fault::Fault;
use super::method::{BEAT, Method, PATIENCE};

/// The retransmission timeout of a fresh connection over loopback, veth or TUN: the least that Linux has, and its
/// jiffies.
const RTO: Duration = Duration::from_millis(204);
/// The scan asks this long after the fault …
pub(super) const SCAN_AFTER: Duration = Duration::from_secs(1);
/// … and calls a peer on this host dead that leaves three questions unanswered over three seconds, …
const SCAN: Duration = Duration::from_secs(3);
/// … and a peer on another host that leaves its questions unanswered for so long.
const SCAN_REMOTE: Duration = Proof::LONGEST_ROUND_TRIP;
/// To list all connections and find their owners, on a host with many processes.
const LIST: Duration = Duration::from_secs(1);
/// A reset, or the end of file, arrives at once.
const AT_ONCE: Expected = Expected::Within { least: Duration::ZERO, most: Duration::ZERO };

/// What rules where the lab runs: a system and, on Linux, what its own namespace is set to so that a run ends in
/// time.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) platform: Platform,
    /// tcp_fin_timeout: how long its system answers for a program that has closed. Elsewhere it is not ours to set.
    pub(super) fin_timeout: Option<Duration>,
    /// How long the short outage lasts.
    pub(super) outage: Duration,
    /// The methods that this system does not have, and why.
    pub(super) lacks: Vec<(Method, String)>,
}

impl World {
    /// Why this system does not have a method, if so.
    pub(super) fn lacks(&self, method: Method) -> Option<&str> {
        self.lacks.iter().find(|(lacking, _)| *lacking == method).map(|(_, why)| why.as_str())
    }
}

/// Why a cell is [`Expected::NotApplicable`].
pub(super) fn why_not(fault: Fault, method: Method, world: &World) -> String {
    match world.lacks(method) {
        Some(why) => why.to_owned(),
        None if fault == Fault::ClosedUnread && method.is_kernels() => {
            "how long its system answers for a program that has closed is not ours to set here".to_owned()
        }
        None if fault.has_shut_window() => {
            format!("what {} does with a shut window is not known", world.platform.system)
        }
        None => "nothing to look at".to_owned(),
    }
}

pub(super) fn expected(fault: Fault, method: Method, world: &World) -> Expected {
    expected_with(fault, method, world, RTO)
}

/// The same for a connection whose retransmission timeout is `rto` when the fault happens. A path through a busy
/// program has a longer one than loopback.
pub(super) fn expected_with(fault: Fault, method: Method, world: &World, rto: Duration) -> Expected {
    match (fault, method) {
        _ if world.lacks(method).is_some() => Expected::NotApplicable,
        (Fault::ClosedUnread, Method::Read) => Expected::NotApplicable,
        // Its kernel answers until the orphan in FIN_WAIT2 is gone; the next probe meets a reset. Answered
        // probes come an idle time apart.
        (Fault::ClosedUnread, method) if method.is_kernels() => match world.fin_timeout {
            Some(answers) => Expected::Within {
                least: answers,
                most: world.platform.latest(answers + Duration::from_secs(2)),
            },
            None => Expected::NotApplicable,
        },
        // What was reset is in no list.
        (Fault::Aborted, Method::Scan) => Expected::NotApplicable,
        (Fault::Closed | Fault::Killed | Fault::ClosedUnread, Method::Scan) => scanned(fault),
        (Fault::Closed | Fault::Killed | Fault::ClosedUnread | Fault::Aborted, _) => AT_ONCE,
        (Fault::Frozen, Method::Heartbeat) => beats_stop(),
        (Fault::Outage | Fault::Frozen | Fault::LongRoundTrip | Fault::Lossy, _) => Expected::Never,
        (Fault::ShutWindow, Method::UserTimeout) => kernel(fault, method, world, rto),
        (Fault::ShutWindow, _) => Expected::Never,
        (Fault::Rebooted | Fault::MappingReset, Method::Scan) => scanned(fault),
        // The next probe, or the next beat, meets a reset.
        (Fault::Rebooted | Fault::MappingReset, Method::Heartbeat) => {
            Expected::Within { least: Duration::ZERO, most: BEAT }
        }
        (Fault::Rebooted | Fault::MappingReset, method) if method.is_kernels() => {
            Expected::Within { least: Duration::ZERO, most: world.platform.latest(Duration::from_secs(2)) }
        }
        // The peer's next beat still arrives. Its acknowledgement does not, so its TCP sends nothing new after that.
        (Fault::OneWayOut, Method::Heartbeat) => Expected::Within { least: PATIENCE, most: PATIENCE + BEAT },
        // Its kernel answers, and an answer outweighs data that is stuck.
        // Our beats wait behind the long packets. So the peer in a black hole is the one that gives up, and closes.
        (_, Method::Heartbeat) => beats_stop(),
        (_, Method::Scan) => scanned(fault),
        _ => kernel(fault, method, world, rto),
    }
}

/// The last beat came up to an interval before the fault.
const fn beats_stop() -> Expected {
    Expected::Within { least: PATIENCE.saturating_sub(BEAT), most: PATIENCE }
}

/// One scan asks all peers, so it takes as long as the silent ones have to answer. A scan of one connection
/// that has ended, or was reset, would be over at once.
fn scanned(fault: Fault) -> Expected {
    let asking = if fault.is_remote() { SCAN_REMOTE } else { SCAN };
    Expected::Within { least: SCAN_AFTER, most: SCAN_AFTER + asking + LIST }
}

fn kernel(fault: Fault, method: Method, world: &World, rto: Duration) -> Expected {
    let detection = detection(&method.protection(&world.platform), &world.platform, rto);
    let bound = match () {
        () if fault.has_shut_window() => detection.shut_window,
        () if fault.is_in_flight() => detection.in_flight,
        () => detection.idle,
    };
    match bound {
        Bound::Within { least, most } => Expected::Within { least, most },
        Bound::Never => Expected::Never,
        Bound::Unknown(_) => Expected::NotApplicable,
    }
}

/// The same for a window that was shut `before` the fault at the longest, and probed since, as `facts` tell: the
/// pauses between the probes have grown, and a user timeout runs.
pub(super) fn expected_when_shut(
    fault: Fault,
    method: Method,
    world: &World,
    before: Duration,
    facts: &Facts,
) -> Expected {
    match method {
        Method::Heartbeat | Method::Scan => expected(fault, method, world),
        Method::UserTimeout => expected(fault, method, world).sooner_by(before),
        _ if fault == Fault::ShutWindow => expected(fault, method, world),
        Method::Read | Method::Poll | Method::State | Method::Keepalive | Method::RtoMax => {
            let platform = &world.platform;
            let ceiling = method.protection(platform).rto_ceiling(platform);
            let (Known::Is(ceiling), Known::Is(retries)) = (ceiling, platform.retries) else {
                return expected(fault, method, world);
            };
            let backoff = Backoff::new(facts.rto, ceiling);
            let (least, nominal) = backoff.window_given_up_after(facts.backoff, facts.probes_out, retries);
            Expected::Within { least, most: platform.latest(nominal) }
        }
    }
}
