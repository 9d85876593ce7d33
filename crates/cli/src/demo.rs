//! `deadpeer demo`.

use std::error::Error;

use crate::args;
use crate::exit::Ended;

/// Runs `deadpeer demo`.
pub(crate) fn run(_args: &args::Demo) -> Result<Ended, Box<dyn Error>> {
    Ok(Ended::Well)
}
