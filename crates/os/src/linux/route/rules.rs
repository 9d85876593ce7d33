//! What of a connection this host's policy rules look at (ip-rule(8)).

use super::super::netlink::{Attributes, Error, Finish, Malformed, Request};
use super::Routes;

/// What of a connection, beside its addresses and its device, can choose its route here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Its mark.
    pub mark: bool,
    /// The user who made its socket.
    pub uid: bool,
    /// Its ports.
    pub ports: bool,
}

impl Selectors {
    /// Everything: where the rules can't be read.
    pub const ALL: Self = Self { mark: true, uid: true, ports: true };

    /// What either looks at.
    pub const fn or(self, other: Self) -> Self {
        Self { mark: self.mark || other.mark, uid: self.uid || other.uid, ports: self.ports || other.ports }
    }
}

/// Whether the hash over several equal routes looks at ports, in the network namespace of this thread
/// (`fib_multipath_hash_policy` in ip-sysctl.rst): true of every policy but 0, and where it can't be read.
pub(super) fn hashes_ports() -> bool {
    ["ipv4", "ipv6"].iter().any(|family| {
        let policy = std::fs::read_to_string(format!("/proc/sys/net/{family}/fib_multipath_hash_policy"));
        !matches!(policy.as_deref().map(str::trim), Ok("0"))
    })
}

impl Routes {
    /// What the policy rules of both families look at, and the hash over several equal routes
    /// (`fib_multipath_hash_policy` in ip-sysctl.rst). Routes themselves look at nothing of it.
    ///
    /// # Errors
    /// Of the netlink exchange.
    pub fn selectors(&mut self) -> Result<Selectors, Error> {
        let mut all = Selectors { ports: self.hashes_ports, ..Selectors::default() };
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut fixed = [0u8; 12]; // struct fib_rule_hdr
            fixed[0] = family as u8;
            let request = Request::new(libc::RTM_GETRULE, Request::DUMP).fixed(&fixed);
            let answer = self.socket.exchange(request, Finish::Done, |message| {
                if message.kind == libc::RTM_NEWRULE {
                    all = all.or(parse_rule(message.payload)?);
                }
                Ok(())
            });
            match answer {
                Ok(_) => {}
                // A kernel without policy rules, or without this family.
                Err(error) if matches!(error.refusal(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

/// `struct fib_rule_hdr` and its attributes.
///
/// # Errors
/// [`Malformed`] for bytes that are too short, or attributes that don't fit.
pub fn parse_rule(payload: &[u8]) -> Result<Selectors, Malformed> {
    const FIXED: usize = 12;
    // linux/fib_rules.h
    const FWMARK: u16 = 10;
    const FWMASK: u16 = 16;
    const UID_RANGE: u16 = 20;
    const SPORT_RANGE: u16 = 23;
    const DPORT_RANGE: u16 = 24;
    let attributes =
        payload.get(FIXED..).ok_or(Malformed { offset: payload.len(), what: "struct fib_rule_hdr" })?;
    let mut found = Selectors::default();
    for attribute in Attributes::new(attributes) {
        match attribute?.0 {
            FWMARK | FWMASK => found.mark = true,
            UID_RANGE => found.uid = true,
            SPORT_RANGE | DPORT_RANGE => found.ports = true,
            _ => {}
        }
    }
    Ok(found)
}
