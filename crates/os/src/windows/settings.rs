//! Telling a socket its settings, and reading back what it took.
//!
//! `TCP_KEEPIDLE` and `TCP_KEEPINTVL` came with Windows 10 1709, `TCP_KEEPCNT` with 1703
//! (<https://learn.microsoft.com/windows/win32/winsock/ipproto-tcp-socket-options>); before them there is
//! `SIO_KEEPALIVE_VALS`, in milliseconds, whose ten probes are fixed and which can't be read back
//! (<https://learn.microsoft.com/windows/win32/winsock/sio-keepalive-vals>).

use std::io;
use std::os::windows::io::BorrowedSocket;
use std::time::Duration;

use deadpeer_core::{Keepalive, KeepaliveSeen, Known, Protection, Set, Settings, Why};

use super::ioctl;
use super::sockopt::{self, Name, is_not_known};
pub use crate::settings::{Amount, Applied, Error, Gap, has};
use crate::settings::{differences, seconds};

/// The probes of a Windows that knows no `TCP_KEEPCNT`.
pub(super) const FIXED_PROBES: u8 = 10;

/// Sets what `settings` say, then reads back. Durations are rounded up: to whole seconds, and to milliseconds
/// where only `SIO_KEEPALIVE_VALS` is there. `SO_KEEPALIVE` is set last, so that the first probe is timed
/// with the new values.
///
/// # Errors
/// [`Error`] when this is no socket, or one without keepalive. An option that this Windows does not know is
/// no error but a [`Gap`].
pub fn apply(sock: BorrowedSocket<'_>, settings: &Settings) -> Result<Applied, Error> {
    let mut gaps = Vec::new();
    match settings.user_timeout {
        Set::Leave => {}
        Set::Off => gaps.extend(unbind(sock)?),
        Set::To(bound) => gaps.extend(set_bound(sock, bound)?),
    }
    if let Set::To(ceiling) = settings.rto_max {
        let error = io::Error::new(io::ErrorKind::Unsupported, "Windows has no such option");
        gaps.push(Gap::refused("TCP_RTO_MAX_MS", Amount::Time(ceiling), error));
    }
    let mut accepted = None;
    match settings.keepalive {
        Set::Leave => {}
        Set::Off => set(sock, sockopt::SO_KEEPALIVE, 0)?,
        Set::To(keepalive) => {
            let (taken, gap) = set_keepalive(sock, keepalive)?;
            gaps.extend(gap);
            accepted = Some(taken);
        }
    }
    let option = sockopt::SO_KEEPALIVE.as_str();
    let mut now = read(sock).map_err(|source| Error { option, source })?;
    if let (Some(accepted), Known::Is(KeepaliveSeen { enabled: true, values })) =
        (accepted, &mut now.keepalive)
        && matches!(values, Known::Not(Why::NotOnThisKernel))
    {
        *values = Known::Is(accepted);
    }
    let names = [sockopt::TCP_KEEPIDLE, sockopt::TCP_KEEPINTVL, sockopt::TCP_KEEPCNT, sockopt::TCP_MAXRT];
    for gap in differences(settings, &now, names.map(Name::as_str)) {
        if gaps.iter().all(|known| known.option != gap.option) {
            gaps.push(gap);
        }
    }
    Ok(Applied { now, gaps })
}

/// Returns what was taken where it can't be read back.
fn set_keepalive(sock: BorrowedSocket<'_>, wanted: Keepalive) -> Result<(Keepalive, Option<Gap>), Error> {
    // The number first: SIO_KEEPALIVE_VALS starts the first probe's timer.
    let refused = unless_not_known(sockopt::TCP_KEEPCNT, {
        sockopt::set(sock, sockopt::TCP_KEEPCNT, wanted.probes().into())
    })?;
    let probes = if refused.is_some() { FIXED_PROBES } else { wanted.probes() };
    let newer = sockopt::set(sock, sockopt::TCP_KEEPIDLE, seconds(wanted.idle()))
        .and_then(|()| sockopt::set(sock, sockopt::TCP_KEEPINTVL, seconds(wanted.interval())));
    if unless_not_known(sockopt::TCP_KEEPIDLE, newer)?.is_some() {
        ioctl::keepalive_vals(sock, wanted.idle(), wanted.interval())
            .map_err(|source| Error { option: "SIO_KEEPALIVE_VALS", source })?;
    }
    set(sock, sockopt::SO_KEEPALIVE, 1)?;
    let gap = refused.and_then(|error| {
        let gap = Gap::of_probes(sockopt::TCP_KEEPCNT.as_str(), wanted.probes(), FIXED_PROBES)?;
        Some(Gap { error: Some(error), ..gap })
    });
    // Both times are those of a keepalive, and ten is a number of probes.
    Ok((Keepalive::new(wanted.idle(), wanted.interval(), probes).unwrap_or(wanted), gap))
}

fn set_bound(sock: BorrowedSocket<'_>, bound: Duration) -> Result<Option<Gap>, Error> {
    let result = sockopt::set(sock, sockopt::TCP_MAXRT, seconds(bound));
    let refused = unless_not_known(sockopt::TCP_MAXRT, result)?;
    Ok(refused.map(|error| Gap::refused(sockopt::TCP_MAXRT.as_str(), Amount::Time(bound), error)))
}

/// There is no documented "off", −1 being "for ever": zero is what an untouched socket shows, and what is
/// read back decides.
fn unbind(sock: BorrowedSocket<'_>) -> Result<Option<Gap>, Error> {
    let option = sockopt::TCP_MAXRT;
    if matches!(bound(sock), Known::Is(None) | Known::Not(Why::NotOnThisKernel)) {
        return Ok(None); // not known here, so not on either
    }
    let refused = unless_not_known(option, sockopt::set(sock, option, 0))?;
    Ok(match (refused, bound(sock)) {
        (None, Known::Is(None)) => None,
        (error, left) => Some(Gap {
            option: option.as_str(),
            wanted: Amount::Time(Duration::ZERO),
            got: left.value().flatten().map(Amount::Time),
            error,
        }),
    })
}

fn set(sock: BorrowedSocket<'_>, option: Name, value: i32) -> Result<(), Error> {
    sockopt::set(sock, option, value).map_err(|source| Error { option: option.as_str(), source })
}

/// The error of an option that this Windows does not know, or any other as a failure.
fn unless_not_known(option: Name, result: io::Result<()>) -> Result<Option<io::Error>, Error> {
    match result {
        Ok(()) => Ok(None),
        Err(error) if is_not_known(&error) => Ok(Some(error)),
        Err(source) => Err(Error { option: option.as_str(), source }),
    }
}

/// Reads what a socket has set. The values of a keepalive that `SIO_KEEPALIVE_VALS` set can't be read before
/// Windows 10 1709.
///
/// # Errors
/// The error of the first call, on `SO_KEEPALIVE`; what fails later is unknown in the result.
pub fn read(sock: BorrowedSocket<'_>) -> io::Result<Protection> {
    let enabled = sockopt::get(sock, sockopt::SO_KEEPALIVE)? != 0;
    let values = if enabled { keepalive(sock) } else { Known::Not(Why::KeepaliveOff) };
    Ok(Protection {
        keepalive: Known::Is(KeepaliveSeen { enabled, values }),
        user_timeout: bound(sock),
        rto_max: Known::Is(None), // one ceiling for all
    })
}

fn keepalive(sock: BorrowedSocket<'_>) -> Known<Keepalive> {
    let read = || -> io::Result<Option<Keepalive>> {
        let idle = sockopt::get(sock, sockopt::TCP_KEEPIDLE)?;
        let interval = sockopt::get(sock, sockopt::TCP_KEEPINTVL)?;
        let probes = sockopt::get(sock, sockopt::TCP_KEEPCNT)?;
        let seconds = |value: i32| Duration::from_secs(u64::try_from(value).unwrap_or(0));
        let probes = u8::try_from(probes).ok();
        Ok(probes.and_then(|probes| Keepalive::new(seconds(idle), seconds(interval), probes).ok()))
    };
    match read() {
        Ok(Some(values)) => Known::Is(values),
        // Windows takes more than a `Keepalive` holds.
        Ok(None) => Known::Not(Why::Failed),
        Err(error) => Known::Not(why(&error)),
    }
}

fn bound(sock: BorrowedSocket<'_>) -> Known<Option<Duration>> {
    match sockopt::get(sock, sockopt::TCP_MAXRT) {
        Ok(0) => Known::Is(None),
        Ok(seconds) => match u64::try_from(seconds) {
            Ok(seconds) => Known::Is(Some(Duration::from_secs(seconds))),
            // −1: retransmitted for ever.
            Err(_) => Known::Not(Why::NotModelled),
        },
        Err(error) => Known::Not(why(&error)),
    }
}

fn why(error: &io::Error) -> Why {
    if is_not_known(error) { Why::NotOnThisKernel } else { Why::Failed }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
