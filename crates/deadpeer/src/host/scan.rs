//! A scan: list, complete, ask, judge, sort.

use std::cmp::Reverse;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use deadpeer_core::{Rules, TcpState, Verdict, judge};

use super::States;
use super::ask;
use super::census::{Census, CensusError, SockDiag, Taken, Want};
use super::connection::{Connection, Finding};
use super::filter::Filter;
use super::listeners;
use super::locks::Locks;
use super::namespaces::{Namespaces, Unseen};
use super::owners::Walk;
use super::pace::Pace;
use super::path::{self, Seen};
use super::protection;
use super::shares;

/// A scan in the making.
#[must_use = "a scan does nothing until it is run"]
pub struct Scan<'s> {
    filter: Filter,
    rules: Rules,
    census: Box<dyn Census + 's>,
    all_namespaces: bool,
    listeners: bool,
    settings: bool,
    probe: Option<Pace>,
    cancel: Option<&'s AtomicBool>,
    progress: Option<ask::Progress<'s>>,
    each: Option<Each<'s>>,
}

/// Is told of a finding.
type Each<'s> = &'s mut (dyn FnMut(&Finding<'_>) + 's);

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("filter", &self.filter)
            .field("rules", &self.rules)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

/// What a scan found.
#[derive(Debug)]
pub struct Report {
    connections: Vec<Connection>,
    filter: Filter,
    rules: Rules,
    /// Whether the kernel's list stayed torn: it changed whenever it was taken.
    pub torn: bool,
    /// What was in the way of finding all network namespaces, where all were wanted.
    pub unseen: Vec<Unseen>,
    /// Network namespaces in which nobody was asked, since another run was asking there: their inode numbers.
    pub busy: Vec<u64>,
    /// Whether the scan was cancelled before all peers were asked.
    pub interrupted: bool,
}

impl Report {
    /// The connections themselves, in the order of their verdicts.
    pub(super) fn into_connections(self) -> Vec<Connection> {
        self.findings().into_iter().map(|finding| finding.connection.clone()).collect()
    }

    /// The connections with a verdict on each, the worst first; among equals those silent for longest.
    pub fn findings(&self) -> Vec<Finding<'_>> {
        let sorted = shares::each(&self.connections[..], |share| {
            let mut findings: Vec<_> = share.iter().filter_map(|connection| self.find(connection)).collect();
            findings.sort_by_key(|(order, _)| *order);
            findings
        });
        let mut findings: Vec<_> = sorted.into_iter().flatten().collect();
        // The sort finds the sorted runs and merges them.
        findings.sort_by_key(|(order, _)| *order);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    /// A finding, if it passes the filter, and where it stands among all.
    fn find<'r>(&'r self, connection: &'r Connection) -> Option<(Reverse<(Verdict, Duration)>, Finding<'r>)> {
        let facts = connection.facts();
        let finding =
            Finding { connection, verdict: judge(facts, &self.rules).verdict(), rules: &self.rules };
        let order = Reverse((finding.verdict, facts.last_heard.value().unwrap_or_default()));
        self.filter.admits_verdict(finding.verdict).then_some((order, finding))
    }
}

impl Default for Scan<'_> {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            rules: Rules::default(),
            census: Box::new(SockDiag),
            all_namespaces: false,
            listeners: false,
            settings: true,
            probe: None,
            cancel: None,
            progress: None,
            each: None,
        }
    }
}

impl<'s> Scan<'s> {
    /// All connections of this network namespace, with their settings, without asking anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only what passes `filter`. Its verdicts select from the result; everything else also selects who is
    /// asked.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Judges by other thresholds.
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Takes the list from another source.
    pub fn census(self, census: impl Census + 's) -> Self {
        Self { census: Box::new(census), ..self }
    }

    /// Looks into every network namespace that a process of the host is in or holds a descriptor of, or that is
    /// mounted (CAP_SYS_ADMIN).
    pub fn all_namespaces(self, yes: bool) -> Self {
        Self { all_namespaces: yes, ..self }
    }

    /// Lists listeners, too.
    pub fn listeners(self, yes: bool) -> Self {
        Self { listeners: yes, ..self }
    }

    /// Whether to read each socket's settings; it is the larger part of a scan's time.
    pub fn settings(self, yes: bool) -> Self {
        Self { settings: yes, ..self }
    }

    /// Asks the peer of each connection.
    pub fn probe(self, pace: Pace) -> Self {
        Self { probe: Some(pace), ..self }
    }

    /// Stops asking when `cancel` becomes true. What was changed on sockets is put back.
    pub fn cancel(self, cancel: &'s AtomicBool) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// Is told how many peers are done, of how many.
    pub fn progress(self, progress: ask::Progress<'s>) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Calls `each` with the finding on each peer that answers, as soon as it has: silent ones take longer. The
    /// report holds all findings all the same. `each` runs between questions, so it must not wait.
    pub fn each(self, each: &'s mut (dyn FnMut(&Finding<'_>) + 's)) -> Self {
        Self { each: Some(each), ..self }
    }

    /// Runs the scan.
    ///
    /// # Errors
    /// [`ScanError`] when there is no list.
    pub fn run(mut self) -> Result<Report, ScanError> {
        let namespaces = match self.all_namespaces {
            true => Namespaces::all(),
            false => Namespaces::current(),
        };
        let (Taken { mut connections, torn }, unseen) = self.take(namespaces.map_err(ScanError::Proc)?)?;
        let mut seen = Seen::listed_now();
        listeners::fill(&mut connections);
        // Whoever asks for states by name gets listeners if that is one of them.
        let listeners = self.listeners || self.filter.states().is_some();
        connections.retain(|connection| {
            self.filter.admits(connection) && (listeners || connection.row.facts.state != TcpState::Listen)
        });
        match self.settings {
            true => protection::fill(&mut connections, shares::workers()),
            false => protection::skip(&mut connections),
        }
        let cancel = self.cancel.unwrap_or(&NEVER);
        let mut locks = None;
        let mut busy = Vec::new();
        if let Some(pace) = self.probe {
            let taken = Locks::take(&connections, cancel);
            let free = taken.part(&mut connections);
            let mut silent = |_, _| ();
            let progress = self.progress.take().unwrap_or(&mut silent);
            let (each, filter, rules) = (&mut self.each, &self.filter, &self.rules);
            let mut tell = |connection: &Connection| {
                seen.asked(connection);
                // A silent one's verdict needs a look at the path, after all others.
                let known = connection.facts().silence().is_none();
                if let (Some(each), true) = (each.as_mut(), known) {
                    let verdict = judge(connection.facts(), rules).verdict();
                    if filter.admits_verdict(verdict) {
                        each(&Finding { connection, verdict, rules });
                    }
                }
            };
            ask::ask(free, pace, cancel, progress, &mut tell, &mut ask::Earlier::new());
            busy = taken.busy();
            locks = Some(taken);
        }
        path::fill(&mut connections, &seen, self.probe.map(|_| cancel));
        drop(locks);
        let interrupted = cancel.load(Ordering::Relaxed);
        let Self { filter, rules, .. } = self;
        Ok(Report { connections, filter, rules, torn, unseen, busy, interrupted })
    }

    /// The list, with owners. The walk through the processes runs beside the dump.
    fn take(&self, mut namespaces: Namespaces) -> Result<(Taken, Vec<Unseen>), ScanError> {
        let want = Want {
            states: match self.filter.states() {
                // A filter never changes a verdict: a listener is judged by the connections that wait in its queue.
                Some(states) if states.contains(TcpState::Listen) => {
                    states.with(TcpState::Established).with(TcpState::CloseWait)
                }
                Some(states) => states,
                None if self.listeners => States::ALL,
                None => States::ALL.without(TcpState::Listen),
            },
        };
        let workers = shares::workers();
        let mut all = Taken { connections: Vec::new(), torn: false };
        let walk = thread::scope(|scope| {
            let walk = scope.spawn(move || Walk::all(workers));
            self.take_from(&mut namespaces, 0, want, &mut all).map(|()| walk.join())
        });
        let walk = walk?.unwrap_or_default();
        if self.all_namespaces {
            let new = namespaces.add(walk.namespaces());
            self.take_from(&mut namespaces, new, want, &mut all)?;
        }
        let unseen = match self.all_namespaces {
            true => namespaces.unseen(walk.unreadable()),
            false => Vec::new(),
        };
        walk.fill(&mut all.connections, workers);
        Ok((all, unseen))
    }

    /// Appends the lists of the namespaces from the one at `first` on.
    fn take_from(
        &self,
        namespaces: &mut Namespaces,
        first: usize,
        want: Want,
        all: &mut Taken,
    ) -> Result<(), ScanError> {
        for at in first..namespaces.found().len() {
            let taken = match self.census.take(&namespaces.found()[at], want) {
                Ok(taken) => taken,
                Err(CensusError::Namespace(_)) if at > 0 => {
                    namespaces.refuse();
                    continue;
                }
                Err(error) => return Err(ScanError::Census(error)),
            };
            all.torn |= taken.torn;
            match all.connections.is_empty() {
                true => all.connections = taken.connections,
                false => all.connections.extend(taken.connections),
            }
        }
        Ok(())
    }
}

static NEVER: AtomicBool = AtomicBool::new(false);

/// Why a scan found nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ScanError {
    /// There is no list of connections.
    Census(CensusError),
    /// /proc can't be read.
    Proc(io::Error),
    /// Another run is asking the same peers.
    Busy,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Census(error) => error.fmt(f),
            Self::Proc(error) => write!(f, "/proc can't be read ({error}): is it mounted?"),
            Self::Busy => f.write_str(
                "another deadpeer is asking in one of these connections' network namespaces: try again when \
                 it has ended",
            ),
        }
    }
}

impl std::error::Error for ScanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Census(error) => Some(error),
            Self::Proc(error) => Some(error),
            Self::Busy => None,
        }
    }
}
