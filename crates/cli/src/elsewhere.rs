//! The commands that work on Linux only, on other systems: listed, with their arguments, and saying so.

#[path = "scan/json/object.rs"]
pub(crate) mod object;
#[path = "ping/args.rs"]
pub(crate) mod ping_args;
#[path = "scan/args.rs"]
pub(crate) mod scan_args;

use std::error::Error;

use crate::exit::Ended;

pub(crate) fn only_on_linux(command: &str) -> Result<Ended, Box<dyn Error>> {
    Err(format!(
        "`{command}` works only on Linux: it reads what only its kernel tells. Here are `lab`, \
         `serve`, `connect`, `plan`, `explain --system` and `help`"
    )
    .into())
}

pub(crate) mod scan {
    use super::{Ended, Error, only_on_linux};

    pub(crate) use super::scan_args as args;
    pub(crate) mod json {
        pub(crate) use super::super::object;
        pub(crate) use object::SCHEMA;
    }

    pub(crate) fn run(_: &args::Scan) -> Result<Ended, Box<dyn Error>> {
        only_on_linux("scan")
    }
}

pub(crate) mod ping {
    use super::{Ended, Error, only_on_linux};

    pub(crate) use super::ping_args as args;

    pub(crate) fn run(_: &args::Ping) -> Result<Ended, Box<dyn Error>> {
        only_on_linux("ping")
    }
}

pub(crate) mod demo {
    use super::{Ended, Error, only_on_linux};

    /// `deadpeer demo`
    #[derive(Debug, clap::Args)]
    pub(crate) struct Demo {
        /// One JSON object a line.
        #[arg(long)]
        pub json: bool,
    }

    pub(crate) fn run(_: &Demo) -> Result<Ended, Box<dyn Error>> {
        only_on_linux("demo")
    }
}

pub(crate) mod connection {
    use super::{Ended, Error, only_on_linux};

    pub(crate) fn run(
        _: &crate::explain::args::Explain,
        _: &deadpeer::Policy,
    ) -> Result<Ended, Box<dyn Error>> {
        only_on_linux("explain FILTER")
    }
}
