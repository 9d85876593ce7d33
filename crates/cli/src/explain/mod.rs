//! `deadpeer explain`: one connection's story, or this machine's.

pub(crate) mod args;
#[cfg(target_os = "linux")]
mod connection;
mod json;
mod system;

use std::error::Error;

#[cfg(not(target_os = "linux"))]
use crate::elsewhere::connection;
use crate::exit::Ended;

/// Runs `deadpeer explain`.
pub(crate) fn run(args: &args::Explain) -> Result<Ended, Box<dyn Error>> {
    let policy = args.goals.goals()?.policy()?;
    match args.system {
        true => system::run(&policy, args.json),
        false => connection::run(args, &policy),
    }
}
