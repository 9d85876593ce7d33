//! How the command ends.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// The command's ends other than errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did what it was asked to: 0.
    Well,
    /// `--fail-on` found one, or nothing matches, or nobody answered: 1.
    Found,
    /// Ctrl-C or SIGTERM: 130.
    Interrupted,
}

/// The exit code; an error is told on stderr and means 2: it could not do its job. A reader of our output
/// that went away is no error.
pub(crate) fn code(ended: Result<Ended, Box<dyn Error>>) -> ExitCode {
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Found) => ExitCode::from(1),
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("deadpeer: {error}");
            ExitCode::from(2)
        }
    }
}

/// Lets a closed pipe pass.
pub(crate) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
