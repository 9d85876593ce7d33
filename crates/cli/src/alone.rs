//! Commands that run in a network namespace of their own, made without privileges where the system allows it.

use std::env;
use std::error::Error;
use std::io;
use std::process::Command;

use deadpeer_lab::Loopback;

use crate::exit::Ended;

/// A command that starts itself again inside.
pub(crate) struct Alone {
    /// What messages call it.
    pub name: &'static str,
    /// The environment variable that tells the second self that it is inside.
    pub inside: &'static str,
}

impl Alone {
    /// Whether this is the second self.
    pub(crate) fn is_inside(&self) -> bool {
        env::var_os(self.inside).is_some()
    }

    /// Runs this command line again in a namespace of its own. `refused` says what an error of that means.
    pub(crate) fn run_again(
        &self,
        refused: impl FnOnce(io::Error) -> String,
    ) -> Result<Ended, Box<dyn Error>> {
        let mut again = Command::new(env::current_exe()?);
        again.args(env::args_os().skip(1)).env(self.inside, "1");
        let status = Loopback::isolate(&mut again).status().map_err(refused)?;
        match status.code() {
            Some(0) => Ok(Ended::Well),
            Some(1) => Ok(Ended::Found),
            Some(2) => Err(format!("the {} did not come to its end, see above", self.name).into()),
            _ => Ok(Ended::Interrupted),
        }
    }
}
