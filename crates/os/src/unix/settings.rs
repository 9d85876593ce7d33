//! Setting and reading options, which differ in names, numbers and units only.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Keepalive, KeepaliveSeen, Known, Protection, Set, Settings, Why};

use super::sockopt::{self, Name};
use crate::settings::{Applied, Error, Gap, differences, seconds};

/// A system's options.
pub(crate) struct Options {
    pub(crate) on: Name,
    /// Seconds.
    pub(crate) idle: Name,
    /// Seconds.
    pub(crate) interval: Name,
    pub(crate) probes: Name,
    /// How long data may stay unacknowledged.
    pub(crate) bound: Name,
    /// What that counts in, rounded up.
    pub(crate) bound_unit: Duration,
}

impl Options {
    /// Sets keepalive and the bound, then reads back; `gaps` are those that there are already.
    pub(crate) fn apply(
        &self,
        sock: BorrowedFd<'_>,
        settings: &Settings,
        mut gaps: Vec<Gap>,
        read: impl FnOnce(BorrowedFd<'_>) -> io::Result<Protection>,
    ) -> Result<Applied, Error> {
        match settings.user_timeout {
            Set::Leave => {}
            Set::Off => set(sock, self.bound, 0)?,
            Set::To(bound) => {
                let units = bound.as_nanos().div_ceil(self.bound_unit.as_nanos().max(1));
                set(sock, self.bound, i32::try_from(units).unwrap_or(i32::MAX))?;
            }
        }
        match settings.keepalive {
            Set::Leave => {}
            Set::Off => set(sock, self.on, 0)?,
            Set::To(keepalive) => {
                set(sock, self.idle, seconds(keepalive.idle()))?;
                set(sock, self.interval, seconds(keepalive.interval()))?;
                set(sock, self.probes, i32::from(keepalive.probes()))?;
                set(sock, self.on, 1)?;
            }
        }
        let now = read(sock).map_err(|source| Error { option: self.on.as_str(), source })?;
        let names = [self.idle, self.interval, self.probes, self.bound];
        gaps.extend(differences(settings, &now, names.map(Name::as_str)));
        Ok(Applied { now, gaps })
    }

    /// Reads keepalive and the bound.
    pub(crate) fn read(&self, sock: BorrowedFd<'_>) -> io::Result<Protection> {
        let enabled = sockopt::get(sock, self.on)? != 0;
        // The values of a keepalive that is off rule nothing, and a host has many such sockets.
        let values = if enabled { self.keepalive(sock) } else { Known::Not(Why::KeepaliveOff) };
        Ok(Protection {
            keepalive: Known::Is(KeepaliveSeen { enabled, values }),
            user_timeout: time(sock, self.bound, self.bound_unit),
            rto_max: Known::Is(None),
        })
    }

    fn keepalive(&self, sock: BorrowedFd<'_>) -> Known<Keepalive> {
        let read = || -> io::Result<Option<Keepalive>> {
            let idle = sockopt::get(sock, self.idle)?;
            let interval = sockopt::get(sock, self.interval)?;
            let probes = sockopt::get(sock, self.probes)?;
            let seconds = |value: i32| Duration::from_secs(u64::try_from(value).unwrap_or(0));
            Ok(u8::try_from(probes)
                .ok()
                .and_then(|probes| Keepalive::new(seconds(idle), seconds(interval), probes).ok()))
        };
        match known(read()) {
            Known::Is(Some(values)) => Known::Is(values),
            // The sysctls may be set beyond what a socket may say for itself.
            Known::Is(None) => Known::Not(Why::Failed),
            Known::Not(why) => Known::Not(why),
        }
    }
}

/// A time that an option holds in `unit`s; `None` at 0.
pub(crate) fn time(sock: BorrowedFd<'_>, option: Name, unit: Duration) -> Known<Option<Duration>> {
    let on = |value: i32| u32::try_from(value).ok().filter(|&units| units > 0);
    known(sockopt::get(sock, option)).map(|value| on(value).map(|units| unit.saturating_mul(units)))
}

fn set(sock: BorrowedFd<'_>, option: Name, value: i32) -> Result<(), Error> {
    sockopt::set(sock, option, value).map_err(|source| Error { option: option.as_str(), source })
}

fn known<T>(result: io::Result<T>) -> Known<T> {
    match result {
        Ok(value) => Known::Is(value),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Known::Not(Why::NotOnThisKernel),
        Err(_) => Known::Not(Why::Failed),
    }
}
