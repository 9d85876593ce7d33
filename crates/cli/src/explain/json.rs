//! Explanations as JSON objects: docs/json.md.

#[cfg(target_os = "linux")]
use deadpeer::host::Finding;
use deadpeer::{Concern, Detection, Plan, Platform, Policy, Protection, concerns, detection};

use super::system::{defaults, untouched};
use crate::plan::json::{States, Wanted, line as finished};
use crate::scan::json::SCHEMA;
use crate::scan::json::object::{Object, Shown, Value, object};

/// A connection's line: the scan's object, and what there is to be said of it.
#[cfg(target_os = "linux")]
pub(super) fn line(finding: &Finding<'_>, policy: &Policy) -> String {
    let connection = finding.connection;
    let platform = connection.platform();
    let mut out = Vec::new();
    object!(&mut out, {
        "schema": SCHEMA,
        "connection": Whole(finding),
        "detection": States(&connection.detection()),
        "goals": Wanted(policy),
        "concerns": concerns(&connection.protection, platform, connection.facts().rto, policy),
        "settings": policy.plan(platform).ok().map(|plan| plan.settings),
    });
    finished(out)
}

/// The system's line.
pub(super) fn system(platform: &Platform, policy: &Policy) -> String {
    let [(_, off), (_, on)] = untouched(platform);
    let mut out = Vec::new();
    object!(&mut out, {
        "schema": SCHEMA,
        "sysctls": Sysctls(platform),
        "unknown": Unknown(platform),
        "goals": Wanted(policy),
        "nothing_set": Untouched(&off, platform, policy),
        "keepalive_on": Untouched(&on, platform, policy),
        "settings": policy.plan(platform).ok().map(|plan| plan.settings),
    });
    finished(out)
}

#[cfg(target_os = "linux")]
struct Whole<'f>(&'f Finding<'f>);

#[cfg(target_os = "linux")]
impl Value for Whole<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        crate::scan::json::append(out, self.0);
    }
}

struct Sysctls<'p>(&'p Platform);

impl Value for Sysctls<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        Object::append(out, |object| {
            for default in defaults(self.0) {
                object.put(default.name, default.value.value());
            }
        });
    }
}

/// Which sysctls are null, and why.
struct Unknown<'p>(&'p Platform);

impl Value for Unknown<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        Object::append(out, |object| {
            for default in defaults(self.0) {
                if let Some(why) = default.value.why() {
                    object.put(default.name, why.as_str());
                }
            }
        });
    }
}

struct Untouched<'p>(&'p Protection, &'p Platform, &'p Policy);

impl Value for Untouched<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        let Self(protection, platform, policy) = self;
        let predicted: Detection = detection(protection, platform, Plan::RTO);
        object!(out, {
            "detection": States(&predicted),
            "concerns": concerns(protection, platform, Plan::RTO, policy),
        });
    }
}

impl Value for Concern {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, { "kind": self.kind(), "text": Shown(self) });
    }
}
