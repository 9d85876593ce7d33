//! JSON Lines: one object a connection. The keys are documented in docs/json.md and never absent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use deadpeer::host::{Connection, Finding};
use deadpeer::{Answer, Asked, Bound, Detection, Evidence, Figure, KeepaliveSeen, Known, Why};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// The version of the format: it changes when a key changes its meaning or goes away.
const SCHEMA: u32 = 1;
/// Lines are made in runs of this many, by all cores.
const RUN: usize = 1024;

/// Writes all findings, in order.
pub(crate) fn write(out: &mut impl Write, findings: &[Finding<'_>]) -> io::Result<()> {
    let runs: Vec<_> = findings.chunks(RUN).collect();
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(runs.len()).min(8);
    if workers < 2 {
        return runs.into_iter().try_for_each(|run| out.write_all(&lines(run)?));
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        // The bound keeps the workers from running ahead of a slow reader with all lines in memory.
        let (sender, receiver) = mpsc::sync_channel(workers);
        for _ in 0..workers {
            let (sender, runs, next) = (sender.clone(), &runs, &next);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(n) else { break };
                    if sender.send((n, lines(run))).is_err() {
                        break; // the writer met an error
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut written = 0;
        for (n, lines) in receiver {
            early.insert(n, lines);
            while let Some(lines) = early.remove(&written) {
                out.write_all(&lines?)?;
                written += 1;
            }
        }
        Ok(())
    })
}

fn lines(run: &[Finding<'_>]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(run.len() * 1024);
    for finding in run {
        serde_json::to_writer(&mut bytes, &Line(finding))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

struct Line<'f>(&'f Finding<'f>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Finding { connection, judgement } = self.0;
        let Connection { row, owner, protection, namespace } = connection;
        let facts = &row.facts;
        let process = match owner {
            Known::Is(owner) => Some(&owner.process),
            Known::Not(_) => None,
        };
        let asked = facts.asked.and_then(Known::value);
        let detection = connection.detection();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry("verdict", judgement.verdict().as_str())?;
        map.serialize_entry("cause", judgement.cause().as_str())?;
        map.serialize_entry("evidence", &EvidenceList(self.0))?;
        map.serialize_entry("local", &row.local)?;
        map.serialize_entry("peer", &row.peer)?;
        map.serialize_entry("state", facts.state.as_str())?;
        map.serialize_entry("pid", &process.map(|process| process.pid))?;
        map.serialize_entry("process", &process.and_then(|process| process.name.as_deref()))?;
        map.serialize_entry("uid", &row.uid)?;
        map.serialize_entry("unit", &process.and_then(|process| process.unit.as_deref()))?;
        map.serialize_entry("netns", &namespace.inode())?;
        map.serialize_entry("netns_name", &namespace.name())?;
        map.serialize_entry("inode", &row.inode)?;
        map.serialize_entry("cookie", &row.cookie.0)?;
        map.serialize_entry("idle_ms", &facts.last_heard.value().map(Millis))?;
        map.serialize_entry("rtt_ms", &facts.rtt.map(Millis))?;
        map.serialize_entry("probe_ms", &asked.and_then(answer_time).map(Millis))?;
        map.serialize_entry("keepalive", &protection.keepalive.value().map(Keepalive))?;
        map.serialize_entry("user_timeout_ms", &setting(protection.user_timeout))?;
        map.serialize_entry("rto_max_ms", &protection.rto_max.value().flatten().map(Millis))?;
        map.serialize_entry(
            "detection",
            &Detections([("idle", detection.idle), ("in_flight", detection.in_flight)]),
        )?;
        map.serialize_entry("tries", &asked.map_or(0, |asked| asked.tries))?;
        map.serialize_entry("retransmits", &facts.retransmits)?;
        map.serialize_entry("probes_out", &facts.probes_out)?;
        map.serialize_entry("send_q", &(u64::from(facts.in_flight) + u64::from(facts.unsent)))?;
        map.serialize_entry("recv_q", &facts.unread)?;
        map.serialize_entry("owners", &owners(owner))?;
        map.serialize_entry("unknown", &Unknown(connection, detection))?;
        map.end()
    }
}

fn owners(owner: &Known<deadpeer::host::Owner>) -> Option<u32> {
    match owner {
        Known::Is(owner) => Some(owner.processes),
        Known::Not(Why::NoOwner | Why::NotAccepted) => Some(0),
        Known::Not(_) => None,
    }
}

fn answer_time(asked: Asked) -> Option<Duration> {
    match asked.answer {
        Answer::Heard(after) | Answer::Reset(after) => Some(after),
        Answer::None | Answer::Gone => None,
    }
}

/// Off is 0.
fn setting(setting: Known<Option<Duration>>) -> Option<Millis> {
    setting.value().map(|on| Millis(on.unwrap_or_default()))
}

/// A time in milliseconds; microseconds as decimals.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_micros() {
            whole if whole % 1000 == 0 => serializer.serialize_u64((whole / 1000) as u64),
            micros => serializer.serialize_f64(micros as f64 / 1000.0),
        }
    }
}

struct Keepalive(KeepaliveSeen);

impl Serialize for Keepalive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.0.values.value();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("enabled", &self.0.enabled)?;
        map.serialize_entry("idle_ms", &values.map(|values| Millis(values.idle())))?;
        map.serialize_entry("interval_ms", &values.map(|values| Millis(values.interval())))?;
        map.serialize_entry("probes", &values.map(|values| values.probes()))?;
        map.end()
    }
}

struct Detections([(&'static str, Bound); 2]);

impl Serialize for Detections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(state, bound)| (state, Range(*bound))))
    }
}

struct Range(Bound);

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, least, most) = match self.0 {
            Bound::Within { least, most } => ("within", Some(least), Some(most)),
            Bound::Never => ("never", None, None),
            Bound::Unknown(_) => ("unknown", None, None),
        };
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("kind", kind)?;
        map.serialize_entry("least_ms", &least.map(Millis))?;
        map.serialize_entry("most_ms", &most.map(Millis))?;
        map.end()
    }
}

struct EvidenceList<'f>(&'f Finding<'f>);

impl Serialize for EvidenceList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for evidence in self.0.judgement.evidence() {
            list.serialize_element(&Piece(*evidence))?;
        }
        list.end()
    }
}

struct Piece(Evidence);

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.0.kind())?;
        for (name, figure) in self.0.figures() {
            match figure {
                Figure::Time(time) => map.serialize_entry(&Suffixed(name), &Millis(time))?,
                Figure::Count(count) | Figure::Bytes(count) => map.serialize_entry(name, &count)?,
                Figure::Word(word) => map.serialize_entry(name, word)?,
            }
        }
        map.serialize_entry("text", &Text(self.0))?;
        map.end()
    }
}

/// The unit stands in the key.
struct Suffixed(&'static str);

impl Serialize for Suffixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}_ms", self.0))
    }
}

struct Text(Evidence);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Which keys are null for want of knowledge, and why.
struct Unknown<'c>(&'c Connection, Detection);

impl Serialize for Unknown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Connection { row, owner, protection, .. } = self.0;
        let values = match protection.keepalive {
            Known::Is(seen) if seen.enabled => seen.values.why(),
            Known::Is(_) => None, // off: its values are nobody's
            Known::Not(why) => Some(why),
        };
        let detection = self.1;
        let unknown = |bound| match bound {
            Bound::Unknown(why) => Some(why),
            _ => None,
        };
        let asked = row.facts.asked.and_then(|asked| asked.why());
        let reasons = [
            ("pid", owner.why()),
            ("keepalive", values),
            ("user_timeout_ms", protection.user_timeout.why()),
            ("idle_ms", row.facts.last_heard.why()),
            ("probe_ms", asked),
            ("detection.idle", unknown(detection.idle)),
            ("detection.in_flight", unknown(detection.in_flight)),
        ];
        serializer
            .collect_map(reasons.into_iter().filter_map(|(key, why)| why.map(|why| (key, why.as_str()))))
    }
}
