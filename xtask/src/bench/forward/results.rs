//! The figures of all ways, and what deadpeer's is to reach.

use std::collections::BTreeMap;

use super::CONNECTIONS;
use super::ways::Kind;
use crate::bench::bars::Bar;
use crate::bench::order::middle;
use crate::bench::report::{Style, number};

/// Of HAProxy's throughput, at least.
const THROUGHPUT: f64 = 1.0;
/// Of HAProxy's added latency, at most.
const LATENCY: f64 = 1.5;

/// One round of one way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// The median of the round trips, and their 99th percentile, in microseconds.
    pub(super) median: f64,
    pub(super) tail: f64,
    /// Megabytes a second, with so many [`CONNECTIONS`].
    pub(super) speed: [f64; CONNECTIONS.len()],
    /// Seconds of processor time of the pair per gigabyte.
    pub(super) cpu: [f64; CONNECTIONS.len()],
}

#[derive(Debug, Default)]
pub(super) struct Results {
    rounds: BTreeMap<Kind, Vec<Round>>,
    notes: Vec<String>,
}

impl Results {
    pub(super) fn add(&mut self, kind: Kind, round: Round) {
        self.rounds.entry(kind).or_default().push(round);
    }

    /// Something besides the figures.
    pub(super) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    fn all(&self, kind: Kind) -> &[Round] {
        self.rounds.get(&kind).map_or(&[], Vec::as_slice)
    }

    fn median(&self, kind: Kind, value: impl Fn(&Round) -> f64) -> Option<f64> {
        Some(middle(self.all(kind).iter().map(value))?[0])
    }

    /// What a way adds to the direct one, by the rounds that followed each other.
    fn added(&self, kind: Kind, value: impl Fn(&Round) -> f64) -> Option<f64> {
        let pairs = self.all(kind).iter().zip(self.all(Kind::Direct));
        Some(middle(pairs.map(|(through, direct)| value(through) - value(direct)))?[0])
    }

    fn speed_beside_haproxy(&self, kind: Kind, n: usize) -> Option<f64> {
        let speed = |kind| self.median(kind, |round| round.speed[n]);
        Some(speed(kind)? / speed(Kind::Haproxy)?)
    }

    fn added_beside_haproxy(&self, kind: Kind, value: impl Fn(&Round) -> f64) -> Option<f64> {
        Some(self.added(kind, &value)? / self.added(Kind::Haproxy, &value)?)
    }

    pub(super) fn print(&self, style: Style) {
        for (n, connections) in CONNECTIONS.into_iter().enumerate() {
            let s = if connections == 1 { "" } else { "s" };
            style.print_title(format_args!("messages of 64 KiB one way, {connections} connection{s}"));
            style.print_table(
                &["way", "MB/s: median (min – max)", "/ HAProxy", "CPU s a GB of the pair"],
                self.rounds.keys().map(|&kind| self.bulk_row(kind, n)),
            );
        }
        style.print_title("64 bytes to and fro");
        style.print_table(
            &["way", "median, µs", "99 %, µs", "added: median", "added: 99 %", "added / HAProxy"],
            self.rounds.keys().map(|&kind| self.latency_row(kind)),
        );
        if !self.notes.is_empty() {
            println!();
            style.print_list(&self.notes);
        }
        style.print_title("Bars");
        style.print_list(self.bars());
    }

    fn bulk_row(&self, kind: Kind, n: usize) -> Vec<String> {
        let spread = middle(self.all(kind).iter().map(|round| round.speed[n]))
            .map(|three| three.map(number))
            .map(|[median, least, most]| format!("{median} ({least} – {most})"));
        let cpu = self.median(kind, |round| round.cpu[n]).filter(|_| kind != Kind::Direct);
        vec![
            kind.name().to_owned(),
            or_dash(spread),
            or_dash(self.speed_beside_haproxy(kind, n).map(number)),
            or_dash(cpu.map(number)),
        ]
    }

    fn latency_row(&self, kind: Kind) -> Vec<String> {
        let added = |value: fn(&Round) -> f64| {
            or_dash(self.added(kind, value).filter(|_| kind != Kind::Direct).map(number))
        };
        let ratio = self.added_beside_haproxy(kind, |round| round.median);
        vec![
            kind.name().to_owned(),
            or_dash(self.median(kind, |round| round.median).map(number)),
            or_dash(self.median(kind, |round| round.tail).map(number)),
            added(|round| round.median),
            added(|round| round.tail),
            or_dash(ratio.filter(|_| kind != Kind::Direct).map(number)),
        ]
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars: Vec<_> = CONNECTIONS
            .into_iter()
            .enumerate()
            .map(|(n, connections)| {
                let what = format!("64 KiB, {connections} at once: at least HAProxy's throughput");
                match self.speed_beside_haproxy(Kind::Deadpeer, n) {
                    Some(ratio) => Bar::at_least(what, ratio, THROUGHPUT, "of it"),
                    None => Bar::not_judged(what, "not measured"),
                }
            })
            .collect();
        let what = "64 bytes: at most 1.5 times the latency that HAProxy adds";
        bars.push(match self.added_beside_haproxy(Kind::Deadpeer, |round| round.median) {
            Some(ratio) => Bar::at_most(what, ratio, LATENCY, "times"),
            None => Bar::not_judged(what, "not measured"),
        });
        bars
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}
