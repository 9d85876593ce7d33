//! `deadpeer serve` and `deadpeer connect`.

pub(crate) mod args;
mod connect;
mod serve;
mod status;
mod tell;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use deadpeer::session::{Bye, Offer, Reason};
use deadpeer::{Policy, Settings, Unreachable, Wish};
use deadpeer_hub::Config;

pub(crate) use connect::run as connect;
pub(crate) use serve::run as serve;

/// What is wanted, and the heartbeats that keep it.
fn config(policy: &Policy) -> Result<Config, Box<dyn Error>> {
    Ok(Config::new(Offer::keeping(policy)?))
}

/// Settings for the connections that have no heartbeat, and how soon a death shows on those. A heartbeat keeps finer
/// promises than any kernel: where this system can't keep the whole, it gets what comes nearest.
fn plain_side(policy: &Policy) -> Result<(Settings, Duration), Box<dyn Error>> {
    let platform = deadpeer::platform();
    let plan = |policy: &Policy| policy.plan(&platform).map(|plan| (plan.settings, policy.detection_time()));
    let nearest = |unreachable: Unreachable| {
        let Unreachable { what: Wish::Detect, best, .. } = unreachable else { return Err(unreachable) };
        let slower = Policy::detect(Duration::from_millis(best)).survive(policy.outage());
        let slower = slower.slow_readers(policy.slow_readers()).build().map_err(|_| unreachable)?;
        plan(&slower)
    };
    plan(policy)
        .or_else(nearest)
        .map_err(|unreachable| format!("the connections that carry data: {unreachable}").into())
}

/// Only loopback is safe from others.
fn reachable_by_others(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

const RESTARTING: Bye = Bye { reason: Reason::Restarting, back_in: Duration::ZERO };
const DONE: Bye = Bye { reason: Reason::Done, back_in: Duration::ZERO };
/// How often to look whether we are to stop.
const NAP: Duration = Duration::from_millis(100);
/// So many events may wait to be printed.
const EVENTS: usize = 65_536;
