//! A path on which packets get lost.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use deadpeer_os::linux::rtnetlink::{Family, Fate, Rtnetlink, Rule, Selector};

use crate::Network;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the left host to the right one.
    LeftToRight,
    /// From the right host to the left one.
    RightToLeft,
}

impl Direction {
    /// The router's links that packets of this direction arrive on.
    fn arrivals(self) -> &'static [&'static str] {
        match self {
            Self::Both => &[Network::TO_LEFT, Network::TO_RIGHT],
            Self::LeftToRight => &[Network::TO_LEFT],
            Self::RightToLeft => &[Network::TO_RIGHT],
        }
    }
}

/// Faults of the path: each holds until its guard is dropped, and they can be combined.
impl Network {
    /// The router drops whatever it should forward, and tells nobody: true silence.
    ///
    /// It still answers for itself, and all links keep their carrier.
    ///
    /// # Errors
    /// The kernel's refusal of a policy rule (it may be built without them).
    pub fn cut(&self, direction: Direction) -> io::Result<Cut<'_>> {
        self.stop_forwarding(direction, Fate::Blackhole)
    }

    /// The router drops whatever it should forward, and tells the sender: network unreachable, by ICMP.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn unreachable(&self, direction: Direction) -> io::Result<Cut<'_>> {
        self.stop_forwarding(direction, Fate::Unreachable)
    }

    /// The router silently drops what goes to, or comes from, one address of the right host.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn cut_off(&self, right: IpAddr) -> io::Result<Cut<'_>> {
        let to = self.rule(Self::TO_LEFT, Selector::To(right), Fate::Blackhole);
        let from = self.rule(Self::TO_RIGHT, Selector::From(right), Fate::Blackhole);
        Cut::make(self, vec![to, from])
    }

    fn stop_forwarding(&self, direction: Direction, fate: Fate) -> io::Result<Cut<'_>> {
        let rules = direction.arrivals().iter().flat_map(|&link| {
            [Family::V4, Family::V6].map(|family| self.rule(link, Selector::All(family), fate))
        });
        Cut::make(self, rules.collect())
    }

    /// A rule with a number of its own, so that cuts can overlap and heal in any order.
    fn rule(&self, arriving_on: &'static str, selector: Selector, fate: Fate) -> Rule {
        let priority = self.next_rule.fetch_add(1, Ordering::Relaxed);
        Rule { priority, arriving_on, selector, fate }
    }
}

/// A path that is cut until this is dropped; made by [`Network::cut`], [`Network::cut_off`] and
/// [`Network::unreachable`].
#[derive(Debug)]
#[must_use = "dropping it heals the path"]
pub struct Cut<'n> {
    network: &'n Network,
    rules: Vec<Rule>,
}

impl<'n> Cut<'n> {
    fn make(network: &'n Network, rules: Vec<Rule>) -> io::Result<Self> {
        let mut cut = Self { network, rules: Vec::with_capacity(rules.len()) };
        network.router(|| {
            let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
            for rule in rules {
                netlink.add_rule(&rule).map_err(io::Error::other)?;
                cut.rules.push(rule); // from here on, dropping `cut` takes it back
            }
            Ok(())
        })?;
        Ok(cut)
    }

    /// Heals the path, as dropping does, and says whether that went well.
    ///
    /// # Errors
    /// The kernel's refusal, or none to make a thread with.
    pub fn heal(mut self) -> io::Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> io::Result<()> {
        let rules = std::mem::take(&mut self.rules);
        if rules.is_empty() {
            return Ok(());
        }
        self.network.router(|| {
            let mut netlink = Rtnetlink::open().map_err(io::Error::other)?;
            rules.iter().try_for_each(|rule| netlink.delete_rule(rule).map_err(io::Error::other))
        })
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("a cut path could not be healed: {error}");
        }
    }
}
