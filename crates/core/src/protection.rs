//! What a socket really has set.

use core::time::Duration;

use crate::facts::{TcpState, Timer};
use crate::known::{Known, Why};
use crate::platform::Platform;
use crate::settings::{Keepalive, Set, Settings};

/// A socket's keepalive: whether it is on, and with which values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveSeen {
    /// Whether `SO_KEEPALIVE` is set.
    pub enabled: bool,
    /// The values it runs with; unknown while it is off.
    pub values: Known<Keepalive>,
}

/// What a socket really has set, as far as it could be read. An inner `None` means "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Probes on an idle connection.
    pub keepalive: Known<KeepaliveSeen>,
    /// The bound on unacknowledged data.
    pub user_timeout: Known<Option<Duration>>,
    /// The socket's longest pause between retransmissions; `None` where the system's default rules.
    pub rto_max: Known<Option<Duration>>,
}

impl Protection {
    /// Nothing is known, for one reason.
    pub const fn unknown(why: Why) -> Self {
        Self { keepalive: Known::Not(why), user_timeout: Known::Not(why), rto_max: Known::Not(why) }
    }

    /// What a fresh socket has when it took all of `settings`.
    pub const fn of(settings: &Settings) -> Self {
        const fn on(set: Set<Duration>) -> Option<Duration> {
            match set {
                Set::To(duration) => Some(duration),
                Set::Off | Set::Leave => None,
            }
        }
        let keepalive = match settings.keepalive {
            Set::To(values) => KeepaliveSeen { enabled: true, values: Known::Is(values) },
            Set::Off | Set::Leave => KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) },
        };
        Self {
            keepalive: Known::Is(keepalive),
            user_timeout: Known::Is(on(settings.user_timeout)),
            rto_max: Known::Is(on(settings.rto_max)),
        }
    }

    /// What the timer that `sock_diag` shows proves where the socket itself can't be read.
    ///
    /// An ESTABLISHED socket with keepalive always has its keepalive timer pending, and the dump shows it
    /// unless a retransmission or window probe is due (`inet_sk_diag_fill` in net/ipv4/inet_diag.c). So a
    /// keepalive timer proves "on", no timer at all proves "off", and any other timer proves nothing.
    pub const fn from_timer(state: TcpState, timer: Timer, why: Why) -> Self {
        let keepalive = match (state, timer) {
            (TcpState::Established | TcpState::CloseWait, Timer::Keepalive(_)) => {
                Known::Is(KeepaliveSeen { enabled: true, values: Known::Not(why) })
            }
            (TcpState::Established | TcpState::CloseWait, Timer::Off) => {
                Known::Is(KeepaliveSeen { enabled: false, values: Known::Not(Why::KeepaliveOff) })
            }
            _ => Known::Not(why),
        };
        Self { keepalive, user_timeout: Known::Not(why), rto_max: Known::Not(why) }
    }

    /// The longest pause between retransmissions: the socket's own, or else the system's, also where the
    /// socket's could not be read.
    pub fn rto_ceiling(&self, platform: &Platform) -> Known<Duration> {
        self.rto_max.value().flatten().map_or(platform.rto_max, Known::Is)
    }

    /// The keepalive values in force; `None` when keepalive is off or unknown.
    pub fn active_keepalive(&self) -> Option<Keepalive> {
        self.keepalive.value().filter(|seen| seen.enabled).and_then(|seen| seen.values.value())
    }
}
