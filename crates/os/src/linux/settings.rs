//! Telling a socket its settings, and reading back what it took: tcp(7), socket(7).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use deadpeer_core::{Known, Protection, Set, Settings, Why};

use super::sockopt;
use crate::settings::milliseconds;
pub use crate::settings::{Amount, Applied, Error, Gap, has};
use crate::unix::settings::{Options, time};

const MILLISECOND: Duration = Duration::from_millis(1);

const OPTIONS: Options = Options {
    on: sockopt::SO_KEEPALIVE,
    idle: sockopt::TCP_KEEPIDLE,
    interval: sockopt::TCP_KEEPINTVL,
    probes: sockopt::TCP_KEEPCNT,
    bound: sockopt::TCP_USER_TIMEOUT,
    bound_unit: MILLISECOND,
};

/// Sets what `settings` say, then reads back. Durations are rounded up to the kernel's units: whole seconds
/// for keepalive, milliseconds for the others. `SO_KEEPALIVE` is set last, so that the first probe is timed
/// with the new values.
///
/// # Errors
/// [`Error`] when the socket takes no such options at all (not TCP, closed). An option that this kernel or this
/// kind of socket does not know is no error but a [`Gap`].
pub fn apply(sock: BorrowedFd<'_>, settings: &Settings) -> Result<Applied, Error> {
    let gap = match settings.rto_max {
        Set::Leave => None,
        Set::Off => no_rto_max(sock),
        Set::To(ceiling) => {
            let set = sockopt::set(sock, sockopt::TCP_RTO_MAX_MS, milliseconds(ceiling));
            set.err().map(|error| rto_max_gap(ceiling, error))
        }
    };
    OPTIONS.apply(sock, settings, Vec::from_iter(gap), read)
}

/// There is no "off": the system's default stands for it.
fn no_rto_max(sock: BorrowedFd<'_>) -> Option<Gap> {
    // What is not known here is not on either.
    time(sock, sockopt::TCP_RTO_MAX_MS, MILLISECOND).value()?;
    let set = match super::sysctl::rto_max() {
        Known::Is(default) => sockopt::set(sock, sockopt::TCP_RTO_MAX_MS, milliseconds(default)),
        Known::Not(why) => Err(io::Error::other(why.as_str())),
    };
    set.err().map(|error| rto_max_gap(Duration::ZERO, error))
}

fn rto_max_gap(wanted: Duration, error: io::Error) -> Gap {
    Gap::refused(sockopt::TCP_RTO_MAX_MS.as_str(), Amount::Time(wanted), error)
}

/// Reads what a socket has set.
///
/// # Errors
/// The error of the first call, on `SO_KEEPALIVE`; what fails later is unknown in the result.
pub fn read(sock: BorrowedFd<'_>) -> io::Result<Protection> {
    let rto_max = match time(sock, sockopt::TCP_RTO_MAX_MS, MILLISECOND) {
        // A kernel without the option has one ceiling for all.
        Known::Not(Why::NotOnThisKernel) => Known::Is(None),
        read => read,
    };
    Ok(Protection { rto_max, ..OPTIONS.read(sock)? })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use deadpeer_core::Keepalive;

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

    /// Seen on Linux 6.18: MPTCP refuses TCP_USER_TIMEOUT and TCP_RTO_MAX_MS with ENOPROTOOPT, takes keepalive.
    #[test]
    fn a_multipath_socket_gets_what_it_knows() {
        use rustix::net::{AddressFamily, SocketType, ipproto};
        let made = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP));
        let Ok(socket) = made else {
            return eprintln!("skipped: this kernel has no MPTCP, or it is turned off");
        };
        let keepalive = Keepalive::new(Duration::from_secs(5), Duration::from_secs(1), 3).unwrap();
        let settings = Settings {
            keepalive: Set::To(keepalive),
            user_timeout: Set::To(Duration::from_secs(9)),
            rto_max: Set::To(Duration::from_secs(2)),
        };
        let applied = apply(socket.as_fd(), &settings).unwrap();
        assert_eq!(applied.now.active_keepalive(), Some(keepalive));
        let names: Vec<_> = applied.gaps.iter().map(|gap| gap.option).collect();
        assert_eq!(names, ["TCP_RTO_MAX_MS", "TCP_USER_TIMEOUT"]);
        assert_eq!(applied.now.user_timeout, Known::Not(Why::NotOnThisSocket));
        let off = Settings { keepalive: Set::Off, user_timeout: Set::Off, rto_max: Set::Off };
        let applied = apply(socket.as_fd(), &off).unwrap();
        assert!(applied.gaps.is_empty(), "{:?}", applied.gaps);
        assert_eq!(applied.now.active_keepalive(), None);
    }

    #[test]
    fn what_is_no_tcp_socket_is_an_error_with_the_options_name() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let settings = Settings { user_timeout: Set::To(Duration::from_secs(1)), ..Settings::default() };
        let error = apply(file.as_fd(), &settings).unwrap_err();
        assert_eq!(error.option, "TCP_USER_TIMEOUT");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(apply(datagrams.as_fd(), &settings).unwrap_err().option, "TCP_USER_TIMEOUT");
    }
}
