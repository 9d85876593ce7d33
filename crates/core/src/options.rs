//! Settings by the names and in the units of a system.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::platform::{Platform, System};
use crate::settings::{Set, Settings};

/// A socket option and the value that it is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOption {
    /// The system's name of it.
    pub name: &'static str,
    /// The value.
    pub value: u64,
    /// Its unit, "" for a number.
    pub unit: &'static str,
}

impl fmt::Display for SocketOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit } = self;
        let space = if unit.is_empty() { "" } else { " " };
        write!(f, "{name} = {value}{space}{unit}")
    }
}

impl Platform {
    /// What to set on a socket here, in this order: `SO_KEEPALIVE` last, so that the first probe is timed
    /// with the new values. Durations are rounded up to the system's units. What is left as it is, and what
    /// this system has no option for, is not in it.
    ///
    /// ```
    /// use core::time::Duration;
    /// use deadpeer_core::{Platform, Set, Settings};
    ///
    /// let settings = Settings { user_timeout: Set::To(Duration::from_millis(2500)), ..Settings::default() };
    /// let names = |platform: Platform| platform.options(&settings)[0].to_string();
    /// assert_eq!(names(Platform::linux()), "TCP_USER_TIMEOUT = 2500 ms");
    /// assert_eq!(names(Platform::freebsd()), "TCP_MAXUNACKTIME = 3 s");
    /// ```
    pub fn options(&self, settings: &Settings) -> Vec<SocketOption> {
        let mut options = Vec::new();
        let mut add = |name, duration: Duration, unit: Duration| {
            let value =
                u64::try_from(duration.as_nanos().div_ceil(unit.as_nanos().max(1))).unwrap_or(u64::MAX);
            let unit = if unit < Duration::from_secs(1) { "ms" } else { "s" };
            options.push(SocketOption { name, value, unit });
        };
        match settings.user_timeout {
            Set::Leave => {}
            Set::Off => add(self.bound.option, Duration::ZERO, self.bound.unit),
            Set::To(bound) => add(self.bound.option, bound, self.bound.unit),
        }
        if let Set::To(ceiling) = settings.rto_max {
            add("TCP_RTO_MAX_MS", ceiling, Duration::from_millis(1));
        }
        let (idle, interval) = match (self.system, self.fixed_probes) {
            (System::Windows, Some(_)) => {
                ("SIO_KEEPALIVE_VALS.keepalivetime", "SIO_KEEPALIVE_VALS.keepaliveinterval")
            }
            (System::MacOs, _) => ("TCP_KEEPALIVE", "TCP_KEEPINTVL"),
            _ => ("TCP_KEEPIDLE", "TCP_KEEPINTVL"),
        };
        if let Set::To(keepalive) = settings.keepalive {
            add(idle, keepalive.idle(), self.keepalive_unit);
            add(interval, keepalive.interval(), self.keepalive_unit);
            if self.fixed_probes.is_none() {
                options.push(SocketOption {
                    name: "TCP_KEEPCNT",
                    value: keepalive.probes().into(),
                    unit: "",
                });
            }
        }
        let on = match (settings.keepalive, self.fixed_probes) {
            (Set::Leave, _) => return options,
            (Set::Off, None) => ("SO_KEEPALIVE", 0),
            (Set::To(_), None) => ("SO_KEEPALIVE", 1),
            (Set::Off, Some(_)) => ("SIO_KEEPALIVE_VALS.onoff", 0),
            (Set::To(_), Some(_)) => ("SIO_KEEPALIVE_VALS.onoff", 1),
        };
        options.push(SocketOption { name: on.0, value: on.1, unit: "" });
        options
    }
}
