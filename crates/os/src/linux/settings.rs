//! Telling a socket its settings, and reading back what it took: tcp(7), socket(7).

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Keepalive, KeepaliveSeen, Known, Protection, Set, Settings, Why};

use super::sockopt::{self, Name};

/// What a socket has after settings were applied.
#[derive(Debug)]
#[must_use = "what the kernel did not take stands in `gaps`"]
pub struct Applied {
    /// What was read back.
    pub now: Protection,
    /// Where that differs from what was wanted.
    pub gaps: Vec<Gap>,
}

/// One option that the kernel did not take as it was wanted.
#[derive(Debug)]
pub struct Gap {
    /// The kernel's name of the option.
    pub option: &'static str,
    /// What was wanted; zero for "off".
    pub wanted: Duration,
    /// What the socket has instead, where it could be read.
    pub got: Option<Duration>,
    /// The error that setting it met.
    pub error: Option<io::Error>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ms wanted", self.option, self.wanted.as_millis())?;
        if let Some(got) = self.got {
            write!(f, ", {} ms taken", got.as_millis())?;
        }
        match &self.error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

/// A system call on a socket that failed.
#[derive(Debug)]
pub struct Error {
    /// The option that was being read or set.
    pub option: &'static str,
    /// The error.
    pub source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on this socket failed: {}", self.option, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Sets what `settings` say, then reads back. Durations are rounded up to the kernel's units: whole seconds
/// for keepalive, milliseconds for the others. `SO_KEEPALIVE` is set last, so that the first probe is timed
/// with the new values.
///
/// # Errors
/// [`Error`] when the socket takes no such options at all (not TCP, closed). An option that this kernel does
/// not know is no error but a [`Gap`].
pub fn apply(sock: BorrowedFd<'_>, settings: &Settings) -> Result<Applied, Error> {
    let mut gaps = Vec::new();
    let failed = |option: Name| move |source| Error { option: option.as_str(), source };
    match settings.user_timeout {
        Set::Leave => {}
        Set::Off => set(sock, sockopt::TCP_USER_TIMEOUT, 0)?,
        Set::To(timeout) => set(sock, sockopt::TCP_USER_TIMEOUT, milliseconds(timeout))?,
    }
    if let Some(wanted) = match settings.rto_max {
        Set::Leave => None,
        Set::Off => Some(Duration::ZERO),
        Set::To(ceiling) => Some(ceiling),
    } {
        gaps.extend(set_rto_max(sock, wanted)?);
    }
    match settings.keepalive {
        Set::Leave => {}
        Set::Off => set(sock, sockopt::SO_KEEPALIVE, 0)?,
        Set::To(keepalive) => {
            set(sock, sockopt::TCP_KEEPIDLE, seconds(keepalive.idle()))?;
            set(sock, sockopt::TCP_KEEPINTVL, seconds(keepalive.interval()))?;
            set(sock, sockopt::TCP_KEEPCNT, i32::from(keepalive.probes()))?;
            set(sock, sockopt::SO_KEEPALIVE, 1)?;
        }
    }
    let now = read(sock).map_err(failed(sockopt::SO_KEEPALIVE))?;
    if let (Set::To(wanted), Some(got)) = (settings.keepalive, now.active_keepalive()) {
        gaps.extend(gap(sockopt::TCP_KEEPIDLE, wanted.idle(), got.idle()));
        gaps.extend(gap(sockopt::TCP_KEEPINTVL, wanted.interval(), got.interval()));
    }
    if let (Set::To(wanted), Known::Is(Some(got))) = (settings.user_timeout, now.user_timeout) {
        gaps.extend(gap(sockopt::TCP_USER_TIMEOUT, wanted, got));
    }
    Ok(Applied { now, gaps })
}

fn set(sock: BorrowedFd<'_>, option: Name, value: i32) -> Result<(), Error> {
    sockopt::set(sock, option, value).map_err(|source| Error { option: option.as_str(), source })
}

/// Linux 6.15 and later; before, the gap says so. There is no "off": the system's default stands for it.
fn set_rto_max(sock: BorrowedFd<'_>, wanted: Duration) -> Result<Option<Gap>, Error> {
    let option = sockopt::TCP_RTO_MAX_MS;
    let value = if wanted.is_zero() { super::sysctl::rto_max() } else { wanted };
    match sockopt::set(sock, option, milliseconds(value)) {
        Ok(()) => Ok(None),
        Err(_) if wanted.is_zero() => Ok(None), // not known here, so not on either
        Err(error) => Ok(Some(Gap { option: option.as_str(), wanted, got: None, error: Some(error) })),
    }
}

fn gap(option: Name, wanted: Duration, got: Duration) -> Option<Gap> {
    (wanted != got).then(|| Gap { option: option.as_str(), wanted, got: Some(got), error: None })
}

/// Whether a socket that has `now` set has all that `settings` say.
pub fn has(now: &Protection, settings: &Settings) -> bool {
    fn is<T: PartialEq>(now: Known<Option<T>>, wanted: &Set<T>) -> bool {
        match (wanted, now) {
            (Set::Leave, _) | (Set::Off, Known::Is(None)) => true,
            (Set::To(wanted), Known::Is(Some(now))) => *wanted == now,
            _ => false,
        }
    }
    let keepalive = match now.keepalive {
        Known::Is(seen) if seen.enabled => seen.values.map(Some),
        Known::Is(_) => Known::Is(None),
        Known::Not(why) => Known::Not(why),
    };
    is(keepalive, &settings.keepalive)
        && is(now.user_timeout, &settings.user_timeout)
        && is(now.rto_max, &settings.rto_max)
}

/// Reads what a socket has set.
///
/// # Errors
/// The error of the first call, on `SO_KEEPALIVE`; what fails later is unknown in the result.
pub fn read(sock: BorrowedFd<'_>) -> io::Result<Protection> {
    let enabled = sockopt::get(sock, sockopt::SO_KEEPALIVE)? != 0;
    // The values of a keepalive that is off rule nothing, and a host has many such sockets.
    let values = if enabled { keepalive(sock) } else { Known::Not(Why::KeepaliveOff) };
    Ok(Protection {
        keepalive: Known::Is(KeepaliveSeen { enabled, values }),
        user_timeout: known(sockopt::get(sock, sockopt::TCP_USER_TIMEOUT)).map(on),
        rto_max: match known(sockopt::get(sock, sockopt::TCP_RTO_MAX_MS)) {
            // A kernel without the option has one ceiling for all.
            Known::Not(Why::NotOnThisKernel) => Known::Is(None),
            read => read.map(on),
        },
    })
}

fn keepalive(sock: BorrowedFd<'_>) -> Known<Keepalive> {
    let read = || -> io::Result<Option<Keepalive>> {
        let idle = sockopt::get(sock, sockopt::TCP_KEEPIDLE)?;
        let interval = sockopt::get(sock, sockopt::TCP_KEEPINTVL)?;
        let probes = sockopt::get(sock, sockopt::TCP_KEEPCNT)?;
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

fn known<T>(result: io::Result<T>) -> Known<T> {
    match result {
        Ok(value) => Known::Is(value),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Known::Not(Why::NotOnThisKernel),
        Err(_) => Known::Not(Why::Failed),
    }
}

fn on(value: i32) -> Option<Duration> {
    u64::try_from(value).ok().filter(|&ms| ms > 0).map(Duration::from_millis)
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sub_second_times_are_rounded_up_and_reported() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let keepalive = Keepalive::new(Duration::from_millis(500), Duration::from_millis(1200), 3).unwrap();
        let settings = Settings { keepalive: Set::To(keepalive), ..Settings::default() };
        let applied = apply(socket.as_fd(), &settings).unwrap();
        let got = applied.now.active_keepalive().unwrap();
        assert_eq!((got.idle(), got.interval()), (Duration::from_secs(1), Duration::from_secs(2)));
        let names: Vec<_> = applied.gaps.iter().map(|gap| gap.option).collect();
        assert_eq!(names, ["TCP_KEEPIDLE", "TCP_KEEPINTVL"]);
    }

    #[test]
    fn off_is_off_and_leave_leaves() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let on = Settings { user_timeout: Set::To(Duration::from_secs(9)), ..Settings::default() };
        let applied = apply(socket.as_fd(), &on).unwrap();
        assert_eq!(applied.now.user_timeout, Known::Is(Some(Duration::from_secs(9))));
        let applied = apply(socket.as_fd(), &Settings::default()).unwrap();
        assert_eq!(applied.now.user_timeout, Known::Is(Some(Duration::from_secs(9))));
        let off = Settings { user_timeout: Set::Off, ..Settings::default() };
        assert_eq!(apply(socket.as_fd(), &off).unwrap().now.user_timeout, Known::Is(None));
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error_with_the_options_name() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let settings = Settings { user_timeout: Set::To(Duration::from_secs(1)), ..Settings::default() };
        let error = apply(file.as_fd(), &settings).unwrap_err();
        assert_eq!(error.option, "TCP_USER_TIMEOUT");
    }
}
