//! What an operating system does when a socket says nothing else, and what it can be told.

use core::fmt;
use core::time::Duration;

use crate::known::{Known, Why};
use crate::settings::Keepalive;

/// An operating system that there is a plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum System {
    /// Linux: its formulas are measured.
    Linux,
    /// Windows: its formulas come from its manual.
    Windows,
    /// macOS: its formulas come from its sources (xnu).
    MacOs,
    /// FreeBSD: its formulas come from its sources.
    FreeBsd,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "Linux",
            Self::Windows => "Windows",
            Self::MacOs => "macOS",
            Self::FreeBsd => "FreeBSD",
        })
    }
}

/// A system's option that bounds how long data may stay unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnackedBound {
    /// Its name.
    pub option: &'static str,
    /// The unit that it is rounded up to.
    pub unit: Duration,
    /// The longest that it takes.
    pub longest: Duration,
    /// Whether the last pause between retransmissions is cut to end with the bound. Where it is not, the
    /// bound is looked at only when the next retransmission is due, up to twice as late.
    pub on_time: bool,
    /// Whether it replaces the limit on retransmissions. Where it does not, the sooner of both counts.
    pub replaces_retries: bool,
    /// Whether it also replaces the number of keepalive probes.
    pub replaces_probe_count: bool,
    /// Whether it also ends a connection whose peer lives and keeps its window shut.
    pub ends_slow_readers: bool,
}

/// How long a connection attempt goes on that nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connecting {
    /// SYNs are retransmitted so often (Linux).
    Retries {
        /// `tcp_syn_retries`: with doubling pauses.
        #[doc(alias = "tcp_syn_retries")]
        doubling: Known<u8>,
        /// `tcp_syn_linear_timeouts`: before those, with equal pauses. [`Why::NotOnThisKernel`] before Linux
        /// 6.5, where all pauses double.
        #[doc(alias = "tcp_syn_linear_timeouts")]
        equal: Known<u8>,
    },
    /// It ends within this range.
    Within {
        /// Not before.
        least: Duration,
        /// Not after.
        most: Duration,
    },
}

/// The keepalive values of a socket that turns keepalive on and sets none, each as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveDefaults {
    /// Idle time before the first probe.
    #[doc(alias = "tcp_keepalive_time")]
    pub idle: Known<Duration>,
    /// From one probe to the next.
    #[doc(alias = "tcp_keepalive_intvl")]
    pub interval: Known<Duration>,
    /// How many unanswered probes end the connection.
    #[doc(alias = "tcp_keepalive_probes")]
    pub probes: Known<u8>,
}

impl KeepaliveDefaults {
    /// All three are known.
    pub const fn of(keepalive: Keepalive) -> Self {
        Self {
            idle: Known::Is(keepalive.idle()),
            interval: Known::Is(keepalive.interval()),
            probes: Known::Is(keepalive.probes()),
        }
    }

    /// What a socket runs with. Unknown where one of the three is, or is [out of
    /// range](Keepalive::in_force).
    pub fn values(self) -> Known<Keepalive> {
        let values = || {
            let (idle, interval, probes) = (self.idle.ok()?, self.interval.ok()?, self.probes.ok()?);
            Keepalive::in_force(idle, interval, probes).map_err(|_| Why::OutOfRange)
        };
        values().map_or_else(Known::Not, Known::Is)
    }
}

/// A system's defaults and abilities, as plain data. `deadpeer-os` reads the running system's.
///
/// ```
/// use deadpeer_core::Platform;
///
/// assert!(Platform::linux().bound.replaces_probe_count); // TCP_USER_TIMEOUT and TCP_KEEPCNT
/// assert_eq!(Platform::windows_1607().fixed_probes, Some(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// Which system.
    pub system: System,
    /// The keepalive values of a socket that turns keepalive on and sets none.
    pub keepalive: KeepaliveDefaults,
    /// The number of probes where a socket has no say in it.
    pub fixed_probes: Option<u8>,
    /// How many retransmissions data in flight gets: on Linux as the kernel models it, elsewhere counted.
    #[doc(alias = "tcp_retries2")]
    pub retries: Known<u8>,
    /// How long a connection attempt goes on.
    pub connecting: Connecting,
    /// The longest pause between two retransmissions.
    #[doc(alias = "tcp_rto_max_ms")]
    pub rto_max: Known<Duration>,
    /// Whether one socket can have its own [`Settings::rto_max`](crate::Settings::rto_max).
    pub rto_max_per_socket: bool,
    /// The unit that keepalive durations are rounded up to.
    pub keepalive_unit: Duration,
    /// The option that bounds unacknowledged data.
    pub bound: UnackedBound,
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn keepalive(idle: u64, interval: u64, probes: u8) -> KeepaliveDefaults {
    let seconds = |seconds| Known::Is(Duration::from_secs(seconds));
    KeepaliveDefaults { idle: seconds(idle), interval: seconds(interval), probes: Known::Is(probes) }
}

impl Platform {
    /// Linux 6.15 and later as it comes: tcp(7), Documentation/networking/ip-sysctl.rst. On older kernels
    /// [`Platform::rto_max_per_socket`] is false; before 6.5 SYNs know no equal pauses.
    pub fn linux() -> Self {
        Self {
            system: System::Linux,
            keepalive: keepalive(7200, 75, 9),
            fixed_probes: None,
            retries: Known::Is(15),
            connecting: Connecting::Retries { doubling: Known::Is(6), equal: Known::Is(4) },
            rto_max: Known::Is(Duration::from_secs(120)),
            rto_max_per_socket: true,
            keepalive_unit: SECOND,
            bound: UnackedBound {
                option: "TCP_USER_TIMEOUT",
                unit: MILLISECOND,
                longest: Duration::from_millis(i32::MAX as u64),
                on_time: true, // tcp_clamp_rto_to_user_timeout, Linux 4.19
                replaces_retries: true,
                replaces_probe_count: true,
                ends_slow_readers: true,
            },
        }
    }

    /// Windows 10 1709 and later: `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_MAXRT`, all in
    /// seconds (<https://learn.microsoft.com/windows/win32/winsock/ipproto-tcp-socket-options>). Keepalive's
    /// defaults and the five retransmissions are those of KeepAliveTime, KeepAliveInterval and
    /// TcpMaxDataRetransmissions; an attempt to connect takes 21 s (2 SYN retransmissions from 3 s) or 31 s
    /// (4 from 1 s), by version. What `TCP_MAXRT` does to a shut window is not documented: a slow reader is
    /// taken to be in danger.
    #[doc(alias = "TCP_MAXRT")]
    pub fn windows() -> Self {
        Self {
            system: System::Windows,
            keepalive: keepalive(7200, 1, 10),
            fixed_probes: None, // TCP_KEEPCNT, up to 255
            retries: Known::Is(5),
            connecting: Connecting::Within { least: Duration::from_secs(21), most: Duration::from_secs(31) },
            rto_max: Known::Is(Duration::from_secs(60)), // said of TCP_MAXRT = -1
            rto_max_per_socket: false,
            keepalive_unit: SECOND,
            bound: UnackedBound {
                option: "TCP_MAXRT",
                unit: SECOND,
                longest: Duration::from_secs(i32::MAX as u64),
                on_time: false,
                replaces_retries: true,
                replaces_probe_count: false,
                ends_slow_readers: true,
            },
        }
    }

    /// Windows before 1703 (Vista to Windows 10 1607): `SIO_KEEPALIVE_VALS` takes milliseconds, and the
    /// number of probes is ten, whatever one wishes
    /// (<https://learn.microsoft.com/windows/win32/winsock/sio-keepalive-vals>).
    #[doc(alias = "SIO_KEEPALIVE_VALS")]
    pub fn windows_1607() -> Self {
        Self { fixed_probes: Some(10), keepalive_unit: MILLISECOND, ..Self::windows() }
    }

    /// macOS: `TCP_KEEPALIVE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_RXT_CONNDROPTIME`, all in seconds
    /// (bsd/netinet/tcp.h). The last counts from the first retransmission, is looked at by the
    /// retransmission timer (`tcp_timers` in bsd/netinet/tcp_timer.c) and leaves the persist timer alone, so
    /// a slow reader lives.
    #[doc(alias = "TCP_RXT_CONNDROPTIME")]
    pub fn macos() -> Self {
        Self {
            system: System::MacOs,
            keepalive: keepalive(7200, 75, 8),
            fixed_probes: None,
            retries: Known::Is(12), // TCP_MAXRXTSHIFT
            // TCPTV_KEEP_INIT
            connecting: Connecting::Within { least: Duration::from_secs(75), most: Duration::from_secs(85) },
            rto_max: Known::Is(Duration::from_secs(64)), // TCPTV_REXMTMAX
            rto_max_per_socket: false,
            keepalive_unit: SECOND,
            bound: UnackedBound {
                option: "TCP_RXT_CONNDROPTIME",
                unit: SECOND,
                longest: Duration::from_secs(i32::MAX as u64 / 1000), // kept in ms (TCP_RETRANSHZ)
                on_time: false,
                replaces_retries: false,
                replaces_probe_count: false,
                ends_slow_readers: false,
            },
        }
    }

    /// FreeBSD: `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_MAXUNACKTIME`, all in seconds (tcp(4),
    /// sys/netinet/tcp_timer.c). The last is looked at by the retransmission and the persist timer
    /// (`tcp_maxunacktime_check`).
    #[doc(alias = "TCP_MAXUNACKTIME")]
    pub fn freebsd() -> Self {
        Self {
            system: System::FreeBsd,
            bound: UnackedBound {
                option: "TCP_MAXUNACKTIME",
                longest: Duration::from_secs(u32::MAX as u64 / 1000), // kept in ticks
                ends_slow_readers: true,
                ..Self::macos().bound
            },
            ..Self::macos()
        }
    }

    /// The latest that a timer of nominally `duration` fires: [`Platform::lateness`] later.
    pub fn latest(&self, duration: Duration) -> Duration {
        duration.saturating_add(self.lateness(duration))
    }

    /// How late a timer of nominally `duration` may fire.
    ///
    /// Timers are late, never early. Linux' wheel rounds an expiry up to the granule of its level: a timer of
    /// 63·8ⁿ ticks or more may wait 8ⁿ⁺¹ ticks longer, 8/63 of itself (`LVL_START`, `calc_index` in
    /// kernel/time/timer.c). A tick is 10 ms at the slowest usual HZ, and scheduling takes its time. Other
    /// systems' timers are taken to be no later.
    pub fn lateness(&self, duration: Duration) -> Duration {
        const TICKS: Duration = Duration::from_millis(50);
        (duration / 63).saturating_mul(8).saturating_add(TICKS)
    }
}
