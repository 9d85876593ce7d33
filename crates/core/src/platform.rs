//! What an operating system does when a socket says nothing else.

use core::time::Duration;

use crate::settings::Keepalive;

/// A system's defaults and abilities, as plain data. `deadpeer-os` reads the running system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Platform {
    /// The keepalive values of a socket that turns keepalive on and sets none.
    #[doc(alias = "tcp_keepalive_time")]
    #[doc(alias = "tcp_keepalive_intvl")]
    #[doc(alias = "tcp_keepalive_probes")]
    pub keepalive: Keepalive,
    /// How many retransmissions data in flight gets, as the kernel models it.
    #[doc(alias = "tcp_retries2")]
    pub retries: u8,
    /// The longest pause between two retransmissions.
    #[doc(alias = "tcp_rto_max_ms")]
    pub rto_max: Duration,
    /// Whether one socket can have its own [`Settings::rto_max`](crate::Settings::rto_max).
    pub rto_max_per_socket: bool,
    /// The unit that keepalive durations are rounded up to.
    pub keepalive_unit: Duration,
}

impl Platform {
    /// Linux as it comes: tcp(7), net/ipv4/tcp_ipv4.c.
    #[allow(clippy::missing_panics_doc, clippy::expect_used)]
    pub fn linux() -> Self {
        Self {
            keepalive: Keepalive::new(Duration::from_secs(7200), Duration::from_secs(75), 9)
                .expect("constants within range"),
            retries: 15,
            rto_max: Duration::from_secs(120),
            rto_max_per_socket: true,
            keepalive_unit: Duration::from_secs(1),
        }
    }

    /// The latest that a timer of nominally `duration` fires.
    ///
    /// Timers are late, never early: the wheel rounds an expiry up by at most an eighth
    /// (kernel/time/timer.c, `LVL_CLK_DIV`), a tick is 10 ms at the slowest usual HZ, and scheduling takes
    /// its time.
    pub fn latest(&self, duration: Duration) -> Duration {
        const TICKS: Duration = Duration::from_millis(50);
        duration.saturating_add(duration / 8).saturating_add(TICKS)
    }
}
