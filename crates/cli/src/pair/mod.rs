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

/// Settings for the connections that carry data. A program that takes nothing for long, such as one that waits for its
/// user, must live: so no user timeout, and where data waits for an answer the hub looks itself.
fn plain_side(policy: &Policy) -> Result<Settings, Box<dyn Error>> {
    let platform = deadpeer::platform();
    let plan = |detect: Duration| -> Result<_, Box<dyn Error>> {
        let policy = Policy::detect(detect).survive(policy.outage()).slow_readers(true).build()?;
        Ok(policy.plan(&platform))
    };
    let plan = match plan(policy.detection_time())? {
        // A heartbeat keeps finer promises than any kernel: this system does what comes nearest.
        Err(Unreachable { what: Wish::Detect, best, .. }) => plan(Duration::from_millis(best))?,
        planned => planned,
    };
    Ok(plan.map_err(|unreachable| format!("the connections that carry data: {unreachable}"))?.settings)
}

/// Only loopback is safe from others.
fn reachable_by_others(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

const RESTARTING: Bye = Bye::new(Reason::Restarting);
const DONE: Bye = Bye::new(Reason::Done);
/// How often to look whether we are to stop.
const NAP: Duration = Duration::from_millis(100);
/// So many events may wait to be printed.
const EVENTS: usize = 65_536;
