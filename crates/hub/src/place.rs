//! Where to connect to.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A place to connect to, `HOST:PORT`. The name is looked up again as its addresses grow old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

/// Text that is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlace(String);

impl fmt::Display for BadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not HOST:PORT, such as 127.0.0.1:5432, [::1]:5432 or db.example:5432", self.0)
    }
}

impl std::error::Error for BadPlace {}

impl FromStr for Place {
    type Err = BadPlace;

    /// ```
    /// use deadpeer_hub::Place;
    ///
    /// assert_eq!("db.example:5432".parse::<Place>().unwrap().host(), "db.example");
    /// assert_eq!("[::1]:5432".parse::<Place>().unwrap().host(), "::1");
    /// assert!("db.example".parse::<Place>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let bad = || BadPlace(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        if host.is_empty() || (host.contains(':') && !bracketed) || host.contains(char::is_whitespace) {
            return Err(bad());
        }
        Ok(Self(format!("{host}:{port}")))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Place {
    /// The host alone, as certificates name it.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

/// A place with the addresses that it had when last looked up.
#[derive(Debug)]
pub(crate) struct Lookup {
    place: Place,
    found: Option<(Instant, Arc<[SocketAddr]>)>,
}

impl Lookup {
    /// Addresses are looked up again after this.
    const FRESH: Duration = Duration::from_secs(5);

    pub(crate) const fn new(place: Place) -> Self {
        Self { place, found: None }
    }

    /// Its addresses. Where the name can't be looked up at present, those of the last time are taken.
    ///
    /// # Errors
    /// What the resolver said, where there was no last time.
    pub(crate) fn addresses(&mut self) -> Result<Arc<[SocketAddr]>, String> {
        if let Some((at, addresses)) = &self.found
            && at.elapsed() < Self::FRESH
        {
            return Ok(Arc::clone(addresses));
        }
        let found = match self.place.0.to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect::<Arc<[_]>>()),
            Err(error) => Err(format!("{}: the name can't be looked up: {error}", self.place)),
        };
        let addresses = match (found, self.found.take()) {
            (Ok(addresses), _) if !addresses.is_empty() => addresses,
            (_, Some((_, addresses))) => addresses,
            (Ok(_), None) => return Err(format!("{}: the name has no address", self.place)),
            (Err(error), None) => return Err(error),
        };
        self.found = Some((Instant::now(), Arc::clone(&addresses)));
        Ok(addresses)
    }
}
