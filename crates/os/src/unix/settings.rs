//! Setting and reading options, which differ in names, numbers and units only.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Keepalive, KeepaliveSeen, Known, Protection, Set, Settings, Why};

use super::sockopt::{self, Name};
use crate::settings::{Amount, Applied, Error, Gap, differences, seconds};

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
    /// Sets keepalive and the bound, then reads back; `gaps` are those that there are already. An option that a
    /// TCP socket does not know, as MPTCP sockets know no bound, is a gap more, and the rest is applied.
    pub(crate) fn apply(
        &self,
        sock: BorrowedFd<'_>,
        settings: &Settings,
        mut gaps: Vec<Gap>,
        read: impl FnOnce(BorrowedFd<'_>) -> io::Result<Protection>,
    ) -> Result<Applied, Error> {
        let mut set = |option, value, wanted| {
            gaps.extend(self.set(sock, option, value, wanted)?);
            Ok(())
        };
        match settings.user_timeout {
            Set::Leave => {}
            Set::Off => set(self.bound, 0, Amount::Time(Duration::ZERO))?,
            Set::To(bound) => {
                let units = bound.as_nanos().div_ceil(self.bound_unit.as_nanos().max(1));
                set(self.bound, i32::try_from(units).unwrap_or(i32::MAX), Amount::Time(bound))?;
            }
        }
        match settings.keepalive {
            Set::Leave => {}
            Set::Off => set(self.on, 0, Amount::Switch(false))?,
            Set::To(keepalive) => {
                let (idle, interval) = (keepalive.idle(), keepalive.interval());
                set(self.idle, seconds(idle), Amount::Time(idle))?;
                set(self.interval, seconds(interval), Amount::Time(interval))?;
                let probes = keepalive.probes();
                set(self.probes, i32::from(probes), Amount::Count(probes))?;
                set(self.on, 1, Amount::Switch(true))?;
            }
        }
        let now = read(sock).map_err(|source| Error { option: self.on.as_str(), source })?;
        let names = [self.idle, self.interval, self.probes, self.bound];
        for gap in differences(settings, &now, names.map(Name::as_str)) {
            if gaps.iter().all(|known| known.option != gap.option) {
                gaps.push(gap);
            }
        }
        Ok(Applied { now, gaps })
    }

    /// Sets one option; what a TCP socket does not know is a gap, unless it was to be off.
    fn set(
        &self,
        sock: BorrowedFd<'_>,
        option: Name,
        value: i32,
        wanted: Amount,
    ) -> Result<Option<Gap>, Error> {
        match sockopt::set(sock, option, value) {
            Ok(()) => Ok(None),
            Err(error) if is_not_known(&error) && self.is_tcp(sock) => {
                Ok((value != 0).then(|| Gap::refused(option.as_str(), wanted, error)))
            }
            Err(source) => Err(Error { option: option.as_str(), source }),
        }
    }

    /// Whether a socket that lacks an option is one for connections all the same: it has keepalive times, or is
    /// an MPTCP socket, which on older kernels has none.
    fn is_tcp(&self, sock: BorrowedFd<'_>) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::net::{ipproto, sockopt::socket_protocol};
            if let Ok(protocol) = socket_protocol(sock) {
                return matches!(protocol, Some(ipproto::TCP | ipproto::MPTCP));
            }
        }
        sockopt::get(sock, self.idle).is_ok()
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
            let probes = u8::try_from(probes).ok();
            // The system's defaults may lie beyond what a socket may set for itself.
            Ok(probes.and_then(|probes| Keepalive::in_force(seconds(idle), seconds(interval), probes).ok()))
        };
        match known(read()) {
            Known::Is(Some(values)) => Known::Is(values),
            Known::Is(None) => Known::Not(Why::OutOfRange),
            Known::Not(why) => Known::Not(why),
        }
    }
}

/// A time that an option holds in `unit`s; `None` at 0.
pub(crate) fn time(sock: BorrowedFd<'_>, option: Name, unit: Duration) -> Known<Option<Duration>> {
    let on = |value: i32| u32::try_from(value).ok().filter(|&units| units > 0);
    known(sockopt::get(sock, option)).map(|value| on(value).map(|units| unit.saturating_mul(units)))
}

fn is_not_known(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

fn known<T>(result: io::Result<T>) -> Known<T> {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(value) => Known::Is(value),
        Err(Some(libc::ENOPROTOOPT)) => Known::Not(Why::NotOnThisKernel),
        // So MPTCP refuses to read what it does not have (`mptcp_getsockopt_sol_tcp` in net/mptcp/sockopt.c).
        Err(Some(libc::EOPNOTSUPP)) => Known::Not(Why::NotOnThisSocket),
        Err(_) => Known::Not(Why::Failed),
    }
}
