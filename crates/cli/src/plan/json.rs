//! A plan as one JSON object: docs/json.md.

use deadpeer::{
    Bound, Detection, Plan, Platform, Policy, Reason, Rounded, Set, Settings, SocketOption, Unreachable,
    Warning, Wish,
};

use crate::scan::json::SCHEMA;
use crate::scan::json::object::{Shown, Value, object};

/// The line for a plan.
pub(crate) fn plan(policy: &Policy, platform: &Platform, plan: &Plan) -> String {
    let mut out = Vec::new();
    object!(&mut out, {
        "schema": SCHEMA,
        "os": Shown(platform.system),
        "goals": Wanted(policy),
        "settings": plan.settings,
        "options": platform.options(&plan.settings),
        "detection": States(&plan.detection),
        "survives_ms": plan.outage,
        "bytes_per_day": plan.bytes_per_day,
        "rounded": plan.rounded,
        "warnings": plan.warnings,
        "reasons": plan.reasons,
    });
    line(out)
}

/// The line for goals that no settings keep.
pub(crate) fn refusal(unreachable: &Unreachable) -> String {
    struct Error<'u>(&'u Unreachable);

    impl Value for Error<'_> {
        fn append(&self, out: &mut Vec<u8>) {
            let (wish, unit) = match self.0.what {
                Wish::Detect => ("detect", "ms"),
                Wish::BytesPerDay => ("budget", "bytes/day"),
                Wish::MappingTimeout => ("nat", "ms"),
                Wish::Outage => ("tolerate", "ms"),
                _ => ("other", ""),
            };
            object!(out, {
                "wish": wish,
                "unit": unit,
                "wanted": self.0.wanted,
                "best": Some(self.0.best).filter(|best| *best < u64::MAX),
                "text": Shown(self.0),
            });
        }
    }
    let mut out = Vec::new();
    object!(&mut out, { "schema": SCHEMA, "error": Error(unreachable) });
    line(out)
}

/// Objects are made of literals and escaped text, which is UTF-8.
pub(crate) fn line(mut out: Vec<u8>) -> String {
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

/// The goals with all that was assumed.
pub(crate) struct Wanted<'p>(pub(crate) &'p Policy);

impl Value for Wanted<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        let policy = self.0;
        object!(out, {
            "detect_ms": policy.detection_time(),
            "tolerate_ms": policy.outage(),
            "nat_ms": policy.mapping_timeout(),
            "budget_bytes_per_day": policy.bytes_per_day(),
            "slow_readers": policy.slow_readers(),
            "accept_rto_ceiling": policy.accepts_rto_ceiling(),
        });
    }
}

impl Value for Settings {
    fn append(&self, out: &mut Vec<u8>) {
        let keepalive = match self.keepalive {
            Set::To(keepalive) => Some(keepalive),
            Set::Off | Set::Leave => None,
        };
        // 0 is off, null is left as it is.
        let milliseconds = |set| match set {
            Set::To(time) => Some(time),
            Set::Off => Some(std::time::Duration::ZERO),
            Set::Leave => None,
        };
        object!(out, {
            "keepalive_idle_ms": keepalive.map(|values| values.idle()),
            "keepalive_interval_ms": keepalive.map(|values| values.interval()),
            "keepalive_probes": keepalive.map(|values| values.probes()),
            "user_timeout_ms": milliseconds(self.user_timeout),
            "rto_max_ms": milliseconds(self.rto_max),
        });
    }
}

impl Value for SocketOption {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, { "name": self.name, "value": self.value, "unit": self.unit });
    }
}

/// The detection time in every state.
pub(crate) struct States<'d>(pub(crate) &'d Detection);

impl Value for States<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, {
            "idle": self.0.idle,
            "in_flight": self.0.in_flight,
            "shut_window": self.0.shut_window,
            "connecting": self.0.connecting,
            "hung_application": self.0.hung_application,
        });
    }
}

impl Value for Bound {
    fn append(&self, out: &mut Vec<u8>) {
        let (kind, least, most) = match *self {
            Self::Within { least, most } => ("within", Some(least), Some(most)),
            Self::Never => ("never", None, None),
            Self::Unknown(_) => ("unknown", None, None),
        };
        object!(out, {
            "kind": kind,
            "least_ms": least,
            "most_ms": most,
        });
    }
}

impl Value for Rounded {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, {
            "setting": self.what,
            "wanted_ms": self.wanted,
            "taken_ms": self.taken,
            "text": Shown(self),
        });
    }
}

impl Value for Warning {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, { "kind": self.kind(), "text": Shown(self) });
    }
}

impl Value for Reason {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, { "kind": self.kind(), "text": Shown(self) });
    }
}
