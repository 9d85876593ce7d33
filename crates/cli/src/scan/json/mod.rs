//! JSON Lines: one object a connection. The keys are documented in docs/json.md and never absent.

pub(crate) mod object;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use deadpeer::host::{Connection, Finding};
use deadpeer::{
    Answer, AnswerTime, Asked, Bound, Detection, Evidence, Figure, Judgement, KeepaliveSeen, Known, Why,
};

pub(crate) use object::SCHEMA;
use object::{Object, Shown, Value, object};

/// Lines are made in runs of this many, by all cores.
const RUN: usize = 1024;

/// Writes all findings, in order.
pub(crate) fn write(out: &mut impl Write, findings: &[Finding<'_>]) -> io::Result<()> {
    let runs: Vec<_> = findings.chunks(RUN).collect();
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(runs.len()).min(8);
    if workers < 2 {
        return runs.into_iter().try_for_each(|run| out.write_all(&lines(run)));
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
                out.write_all(&lines)?;
                written += 1;
            }
        }
        Ok(())
    })
}

fn lines(run: &[Finding<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(run.len() * 1024);
    for finding in run {
        append(&mut bytes, finding);
        bytes.push(b'\n');
    }
    bytes
}

/// Appends a finding's object.
pub(crate) fn append(out: &mut Vec<u8>, finding: &Finding<'_>) {
    let connection = finding.connection;
    let Connection { row, owner, protection, namespace } = connection;
    let judgement = finding.judgement();
    let facts = &row.facts;
    let process = owner.as_ref().value().map(|owner| &owner.process);
    let asked = facts.asked.and_then(Known::value);
    let detection = connection.detection();
    object!(out, {
        "schema": SCHEMA,
        "verdict": finding.verdict.as_str(),
        "cause": judgement.cause().as_str(),
        "evidence": EvidenceList(&judgement),
        "local": row.local,
        "peer": row.peer,
        "state": facts.state.as_str(),
        "pid": process.map(|process| process.pid),
        "process": process.and_then(|process| process.name.as_deref()),
        "uid": row.uid,
        "unit": process.and_then(|process| process.unit.as_deref()),
        "netns": namespace.inode(),
        "netns_name": namespace.name(),
        "inode": row.inode,
        "cookie": row.cookie.0,
        "idle_ms": facts.last_heard.value(),
        "rtt_ms": facts.rtt,
        "probe_ms": asked.and_then(answer_time).and_then(AnswerTime::exact),
        "probe_least_ms": asked.and_then(answer_time).map(|time| time.least),
        "probe_most_ms": asked.and_then(answer_time).map(|time| time.most),
        "keepalive": protection.keepalive.value(),
        "user_timeout_ms": setting(protection.user_timeout),
        "rto_max_ms": protection.rto_max.value().flatten(),
        "detection": detection,
        "tries": asked.map_or(0, |asked| u32::from(asked.tries)),
        "retransmits": facts.retransmits,
        "probes_out": facts.probes_out,
        "send_q": u64::from(facts.in_flight) + u64::from(facts.unsent),
        "recv_q": facts.unread,
        "owners": owners(owner),
        "unknown": Unknown(connection, detection),
    });
}

fn owners(owner: &Known<deadpeer::host::Owner>) -> Option<u32> {
    match owner {
        Known::Is(owner) => Some(owner.processes),
        Known::Not(Why::NoOwner | Why::NotAccepted) => Some(0),
        Known::Not(_) => None,
    }
}

fn answer_time(asked: Asked) -> Option<AnswerTime> {
    match asked.answer {
        Answer::Answered(time) => Some(time),
        Answer::Reset(after) => Some(AnswerTime { least: after, most: after }),
        Answer::None | Answer::Heard | Answer::Ended | Answer::Gone => None,
    }
}

/// Off is 0.
fn setting(setting: Known<Option<Duration>>) -> Option<Duration> {
    setting.value().map(Option::unwrap_or_default)
}

impl Value for KeepaliveSeen {
    fn append(&self, out: &mut Vec<u8>) {
        let values = self.values.value();
        object!(out, {
            "enabled": self.enabled,
            "idle_ms": values.map(|values| values.idle()),
            "interval_ms": values.map(|values| values.interval()),
            "probes": values.map(|values| values.probes()),
        });
    }
}

impl Value for Detection {
    fn append(&self, out: &mut Vec<u8>) {
        object!(out, {
            "idle": self.idle,
            "in_flight": self.in_flight,
        });
    }
}

struct EvidenceList<'f>(&'f Judgement);

impl Value for EvidenceList<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        let mut before = b'[';
        for evidence in self.0.evidence() {
            out.push(before);
            evidence.append(out);
            before = b',';
        }
        out.push(b']'); // a judgement without evidence can't be made
    }
}

impl Value for Evidence {
    fn append(&self, out: &mut Vec<u8>) {
        Object::append(out, |piece| {
            piece.put("kind", self.kind());
            for (name, figure) in self.figures() {
                match figure {
                    Figure::Time(time) => piece.put_in(name, "_ms", time),
                    Figure::Count(count) | Figure::Bytes(count) => piece.put(name, count),
                    Figure::Word(word) => piece.put(name, word),
                }
            }
            piece.put("text", Shown(self));
        });
    }
}

/// Which keys are null for want of knowledge, and why.
struct Unknown<'c>(&'c Connection, Detection);

impl Value for Unknown<'_> {
    fn append(&self, out: &mut Vec<u8>) {
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
        let asked = row.facts.asked.and_then(|asked| match asked {
            Known::Not(why) => Some(why.as_str()),
            Known::Is(asked) => answer_time(asked)
                .filter(|time| time.exact().is_none())
                .map(|_| "the answer can belong to one of several questions"),
        });
        let reasons = [
            ("pid", owner.why()),
            ("keepalive", values),
            ("user_timeout_ms", protection.user_timeout.why()),
            ("idle_ms", row.facts.last_heard.why()),
            ("detection.idle", unknown(detection.idle)),
            ("detection.in_flight", unknown(detection.in_flight)),
        ];
        Object::append(out, |unknown| {
            for (key, why) in reasons {
                if let Some(why) = why {
                    unknown.put(key, why.as_str());
                }
            }
            if let Some(why) = asked {
                unknown.put("probe_ms", why);
            }
        });
    }
}
