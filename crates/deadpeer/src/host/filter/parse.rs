//! From a term's text to what it means.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use deadpeer_core::{TcpState, Verdict};

use crate::near::is_near;

use super::{Filter, Key, Pattern, Place, Ports, Term};

/// The keys, each with an example of its values.
const KEYS: &[(&str, Key, &str)] = &[
    ("port", Key::Port, "port:5432, port:80,443, port:8000-8010 (local or peer)"),
    ("peer", Key::Peer, "peer:10.0.0.0/8, peer:10.0.0.5:443, peer:[2001:db8::1]:443"),
    ("local", Key::Local, "local:192.168.0.1, local::22"),
    ("pid", Key::Pid, "pid:812"),
    ("process", Key::Process, "process:nginx, process:post*"),
    ("uid", Key::Uid, "uid:1000"),
    ("unit", Key::Unit, "unit:nginx.service, unit:docker-*"),
    ("state", Key::State, "state:close-wait"),
    ("verdict", Key::Verdict, "verdict:dead,suspect"),
    ("netns", Key::Netns, "netns:4026531840, netns:blue"),
];

/// A term that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    term: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    NoColon,
    UnknownKey(String),
    Empty,
    Value { value: String, key: &'static str, example: &'static str, words: Vec<&'static str> },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = &self.term;
        let keys = KEYS.iter().map(|(key, ..)| *key).collect::<Vec<_>>().join(", ");
        match &self.problem {
            Problem::NoColon => {
                write!(f, "filter `{term}`: a filter is KEY:VALUE, for example port:5432; keys: {keys}")
            }
            Problem::UnknownKey(key) => {
                write!(f, "filter `{term}`: there is no key `{key}`")?;
                if let Some((near, ..)) = KEYS.iter().find(|(known, ..)| is_near(known, key)) {
                    write!(f, ", did you mean `{near}`?")?;
                }
                write!(f, "; keys: {keys}")
            }
            Problem::Empty => write!(f, "filter `{term}`: the value is empty"),
            Problem::Value { value, key, example, words } => {
                write!(f, "filter `{term}`: `{value}` is no {key}")?;
                match words.is_empty() {
                    true => write!(f, "; it looks like {example}"),
                    false => write!(f, "; there are {}", words.join(", ")),
                }
            }
        }
    }
}

impl std::error::Error for FilterError {}

/// Adds the term `text` to `filter`.
pub(super) fn add(filter: &mut Filter, text: &str) -> Result<(), FilterError> {
    let error = |problem| FilterError { term: text.to_owned(), problem };
    let (negated, term) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    let (name, values) = term.split_once(':').ok_or_else(|| error(Problem::NoColon))?;
    let Some(&(name, key, example)) = KEYS.iter().find(|(known, ..)| *known == name) else {
        return Err(error(Problem::UnknownKey(name.to_owned())));
    };
    if values.is_empty() {
        return Err(error(Problem::Empty));
    }
    for value in values.split(',') {
        let term = parse(key, value).ok_or_else(|| {
            let words = match key {
                Key::State => TcpState::ALL.iter().map(|state| state.as_str()).collect(),
                Key::Verdict => Verdict::WORDS.to_vec(),
                _ => Vec::new(),
            };
            error(Problem::Value { value: value.to_owned(), key: name, example, words })
        })?;
        if negated { filter.unwanted.push(term) } else { filter.add(key, term) }
    }
    Ok(())
}

fn parse(key: Key, value: &str) -> Option<Term> {
    let pattern = || (!value.is_empty()).then(|| Pattern(value.to_owned()));
    Some(match key {
        Key::Port => Term::Port(ports(value)?),
        Key::Peer => Term::Peer(place(value)?),
        Key::Local => Term::Local(place(value)?),
        Key::Pid => Term::Pid(value.parse().ok()?),
        Key::Process => Term::Process(pattern()?),
        Key::Uid => Term::Uid(value.parse().ok()?),
        Key::Unit => Term::Unit(pattern()?),
        Key::State => Term::State(state(value)?),
        Key::Verdict => Term::Verdict(value.to_ascii_lowercase().parse().ok()?),
        Key::Netns => Term::Netns(pattern()?),
        Key::Version => return None,
    })
}

fn state(value: &str) -> Option<TcpState> {
    let value = value.to_ascii_lowercase().replace('_', "-");
    let value = if value == "estab" { "established" } else { &value };
    TcpState::ALL.into_iter().find(|state| state.as_str() == value)
}

fn ports(value: &str) -> Option<Ports> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let ports = Ports(first.parse().ok()?, last.parse().ok()?);
    (ports.0 <= ports.1).then_some(ports)
}

/// `addr`, `addr/prefix`, `addr:port`, `[v6]:port`, `:port`.
fn place(value: &str) -> Option<Place> {
    if let Some(port) = value.strip_prefix(':').filter(|rest| !rest.starts_with(':')) {
        return Some(Place { network: None, ports: Some(ports(port)?) });
    }
    if let Ok(address) = value.parse::<SocketAddr>() {
        let network = Some((address.ip(), prefix_of(address.ip())));
        return Some(Place { network, ports: Some(Ports(address.port(), address.port())) });
    }
    let (address, prefix) = match value.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (value, None),
    };
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let ip: IpAddr = address.parse().ok()?;
    let prefix = prefix.unwrap_or(prefix_of(ip));
    (prefix <= prefix_of(ip)).then_some(Place { network: Some((ip, prefix)), ports: None })
}

const fn prefix_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}
