//! The ways to notice.

use std::io;
use std::time::Duration;

use deadpeer::{Keepalive, Platform, Protection, Set, Settings, System, apply_settings, diagnose};
use deadpeer_lab::Pair;

/// A way to notice that a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    /// A blocked recv(2) returns 0 or fails; EINTR and EAGAIN are no end.
    Read,
    /// poll(2) says that reading would not block.
    Poll,
    /// TCP_INFO is looked at again and again for a state other than ESTABLISHED.
    State,
    /// Keepalive, and a blocked recv(2).
    Keepalive,
    /// The same with a bound on unacknowledged data.
    UserTimeout,
    /// The same with a ceiling for the pauses between retransmissions.
    RtoMax,
    /// A heartbeat of the application's own.
    Heartbeat,
    /// `deadpeer scan --probe` from outside, a second after the fault.
    Scan,
}

const SECOND: Duration = Duration::from_secs(1);
/// The heartbeat's settings: a beat a second at least, and three seconds of patience.
pub(super) const BEAT: Duration = SECOND;
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const RTO_MAX: Duration = SECOND;

impl Method {
    pub(super) const ALL: [Self; 8] = [
        Self::Read,
        Self::Poll,
        Self::State,
        Self::Keepalive,
        Self::UserTimeout,
        Self::RtoMax,
        Self::Heartbeat,
        Self::Scan,
    ];

    /// Its name in kebab case, stable.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Poll => "poll",
            Self::State => "tcp-info",
            Self::Keepalive => "keepalive",
            Self::UserTimeout => "user-timeout",
            Self::RtoMax => "rto-max",
            Self::Heartbeat => "heartbeat",
            Self::Scan => "scan-probe",
        }
    }

    /// What is set on this system, in a few words.
    pub(super) fn words(self, platform: &Platform) -> String {
        let keepalive = format!("keepalive 2/1/{}", probes(platform));
        match self {
            Self::Read => "a blocked recv".to_owned(),
            Self::Poll => "poll for input".to_owned(),
            Self::State => "TCP_INFO's state, looked at every 50 ms".to_owned(),
            Self::Keepalive => format!("{keepalive} (idle, interval s, probes)"),
            Self::UserTimeout => format!("{keepalive} and {} 5 s", platform.bound.option),
            Self::RtoMax => format!("{keepalive} and TCP_RTO_MAX_MS 1000"),
            Self::Heartbeat => "a session's heartbeat: 1 s, patience 3 s".to_owned(),
            Self::Scan => "deadpeer scan --probe, 1 s after the fault".to_owned(),
        }
    }

    /// What is set on the socket.
    pub(super) fn settings(self, platform: &Platform) -> Settings {
        let keepalive = match self {
            Self::Keepalive | Self::UserTimeout | Self::RtoMax => classic(2, 1, probes(platform)),
            _ => Set::Leave,
        };
        Settings {
            keepalive,
            user_timeout: if self == Self::UserTimeout { Set::To(USER_TIMEOUT) } else { Set::Leave },
            rto_max: if self == Self::RtoMax { Set::To(RTO_MAX) } else { Set::Leave },
        }
    }

    /// The same as the prediction takes it.
    pub(super) fn protection(self, platform: &Platform) -> Protection {
        Protection::of(&self.settings(platform))
    }

    /// Whether a kernel option beyond the defaults does it.
    pub(super) const fn is_kernels(self) -> bool {
        matches!(self, Self::Keepalive | Self::UserTimeout | Self::RtoMax)
    }
}

/// Three, unless the system knows one number only.
fn probes(platform: &Platform) -> u8 {
    platform.fixed_probes.unwrap_or(3)
}

/// The methods that this system does not have, and why: each is tried.
///
/// # Errors
/// No connection over loopback can be made.
pub(super) fn lacking(platform: &Platform) -> io::Result<Vec<(Method, String)>> {
    let mut lacking = Vec::new();
    for method in Method::ALL {
        let pair = Pair::loopback()?;
        let applied = apply_settings(&pair.client, &method.settings(platform)).map_err(io::Error::other)?;
        let lacks = match method {
            Method::Scan if platform.system != System::Linux => Some("the scan is Linux' alone".to_owned()),
            // What it tells beside the state, which can't be had in any other way.
            Method::State if diagnose(&pair.client)?.facts.own_window.value().is_none() && cfg!(windows) => {
                Some("no SIO_TCP_INFO (Windows 10 1703)".to_owned())
            }
            _ => applied.gaps.first().map(ToString::to_string),
        };
        lacking.extend(lacks.map(|why| (method, why)));
    }
    Ok(lacking)
}

/// Keepalive of whole seconds; what no socket takes is left.
pub(super) fn classic(idle: u64, interval: u64, probes: u8) -> Set<Keepalive> {
    let seconds = Duration::from_secs;
    Keepalive::new(seconds(idle), seconds(interval), probes).map_or(Set::Leave, Set::To)
}
