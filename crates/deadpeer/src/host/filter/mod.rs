//! Which connections are looked at: `key:value` terms.
//!
//! Terms with the same key mean "or", different keys mean "and"; `!key:value` must not match. A value may be
//! a list: `port:80,443,8000-8010`.

mod parse;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use deadpeer_core::{Known, TcpState, Verdict};
use deadpeer_os::linux::diag::States;

use super::connection::Connection;
pub use parse::FilterError;

/// A filter: empty, it lets everything pass.
///
/// ```
/// use deadpeer::host::Filter;
///
/// let filter = Filter::parse(["port:5432", "!peer:127.0.0.0/8", "verdict:dead,suspect"])?;
/// assert!(Filter::parse(["prot:5432"]).unwrap_err().to_string().contains("did you mean `port`"));
/// # Ok::<(), deadpeer::host::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By key; inside a key, one must match.
    wanted: Vec<(Key, Vec<Term>)>,
    /// None may match.
    unwanted: Vec<Term>,
}

/// What a term looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Port,
    Peer,
    Local,
    Pid,
    Process,
    Uid,
    Unit,
    State,
    Verdict,
    Netns,
    /// Of the flags -4 and -6.
    Version,
}

/// One value to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Port(Ports),
    Peer(Place),
    Local(Place),
    Pid(u32),
    Process(Pattern),
    Uid(u32),
    Unit(Pattern),
    State(TcpState),
    Verdict(Verdict),
    Netns(Pattern),
    V4,
    V6,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports(u16, u16);

impl Ports {
    fn contains(self, port: u16) -> bool {
        (self.0..=self.1).contains(&port)
    }
}

/// Addresses with a common prefix, ports, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    network: Option<(IpAddr, u8)>,
    ports: Option<Ports>,
}

impl Place {
    fn contains(self, address: SocketAddr) -> bool {
        self.network.is_none_or(|(network, prefix)| shares_prefix(network, address.ip(), prefix))
            && self.ports.is_none_or(|ports| ports.contains(address.port()))
    }
}

fn shares_prefix(network: IpAddr, address: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// A name, in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(String);

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut text) = text.strip_prefix(start) else { return false };
        let mut parts = rest.split('*');
        let end = parts.next_back().unwrap_or_default();
        for part in parts {
            match text.find(part) {
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        text.ends_with(end)
    }
}

impl Filter {
    /// Reads the terms of a filter.
    ///
    /// # Errors
    /// [`FilterError`] names the term, what is wrong with it, and what there is.
    pub fn parse<S: AsRef<str>>(terms: impl IntoIterator<Item = S>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for term in terms {
            parse::add(&mut filter, term.as_ref())?;
        }
        Ok(filter)
    }

    /// IPv4 peers only; with [`Filter::v6`], either.
    pub fn v4(mut self) -> Self {
        self.add(Key::Version, Term::V4);
        self
    }

    /// IPv6 peers only; with [`Filter::v4`], either.
    pub fn v6(mut self) -> Self {
        self.add(Key::Version, Term::V6);
        self
    }

    fn add(&mut self, key: Key, term: Term) {
        match self.wanted.iter_mut().find(|(known, _)| *known == key) {
            Some((_, terms)) => terms.push(term),
            None => self.wanted.push((key, vec![term])),
        }
    }

    /// The states that can pass, for the kernel's own selection.
    pub(super) fn states(&self) -> Option<States> {
        let (_, terms) = self.wanted.iter().find(|(key, _)| *key == Key::State)?;
        Some(States::only(terms.iter().filter_map(|term| match term {
            Term::State(state) => Some(*state),
            _ => None,
        })))
    }

    /// Whether a connection passes, its verdict left aside.
    pub fn admits(&self, connection: &Connection) -> bool {
        self.passes(|term| term.matches(connection))
    }

    /// Whether a verdict passes.
    pub fn admits_verdict(&self, verdict: Verdict) -> bool {
        self.passes(|term| match term {
            Term::Verdict(wanted) => Some(*wanted == verdict),
            _ => None,
        })
    }

    /// `matches` says whether a term matches, or `None` when it is not the term's turn.
    fn passes(&self, matches: impl Fn(&Term) -> Option<bool>) -> bool {
        let wanted = self.wanted.iter().all(|(_, terms)| {
            let mut asked = terms.iter().filter_map(&matches).peekable();
            asked.peek().is_none() || asked.any(|matched| matched)
        });
        wanted && !self.unwanted.iter().filter_map(&matches).any(|matched| matched)
    }
}

impl Term {
    fn matches(&self, connection: &Connection) -> Option<bool> {
        let row = &connection.row;
        let owner = match &connection.owner {
            Known::Is(owner) => Some(&owner.process),
            Known::Not(_) => None,
        };
        let named = |pattern: &Pattern, name: Option<&String>| name.is_some_and(|name| pattern.matches(name));
        Some(match self {
            Self::Verdict(_) => return None,
            Self::Port(ports) => ports.contains(row.local.port()) || ports.contains(row.peer.port()),
            Self::Peer(place) => place.contains(row.peer),
            Self::Local(place) => place.contains(row.local),
            Self::Pid(pid) => owner.is_some_and(|owner| owner.pid == *pid),
            Self::Process(pattern) => owner.is_some_and(|owner| named(pattern, owner.name.as_ref())),
            Self::Uid(uid) => row.uid == *uid,
            Self::Unit(pattern) => owner.is_some_and(|owner| named(pattern, owner.unit.as_ref())),
            Self::State(state) => row.facts.state == *state,
            Self::Netns(pattern) => {
                let namespace = &connection.namespace;
                pattern.matches(&namespace.inode().to_string())
                    || namespace.name().is_some_and(|name| pattern.matches(name))
            }
            Self::V4 => row.local.is_ipv4(),
            Self::V6 => row.local.is_ipv6(),
        })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Terms separated by white space.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text.split_whitespace())
    }
}

#[cfg(test)]
mod tests;
