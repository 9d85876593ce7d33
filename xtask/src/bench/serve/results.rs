//! The figures of all servers, and what `deadpeer serve` is to reach.

use std::collections::BTreeMap;

use super::contestants::Contestant;
use super::trial::Trial;
use super::{Heat, Pace};
use crate::bench::bars::Bar;
use crate::bench::order::middle;
use crate::bench::report::{Style, number, thousands};

/// Bytes of an idle session, plain and under TLS.
const PLAIN: f64 = 100.0;
const TLS: f64 = 8.0 * 1024.0;
/// Bytes of an idle session of the library.
const SESSION: f64 = 2.0 * 1024.0;
/// The latest death, in milliseconds after the promised time.
const LATE: f64 = 150.0;
/// Time stamps in milliseconds may be so much early.
const EARLY: f64 = -2.0;

#[derive(Debug, Default)]
pub(super) struct Results {
    trials: BTreeMap<(Heat, Contestant), Vec<Trial>>,
    notes: Vec<String>,
}

impl Results {
    pub(super) fn add(&mut self, heat: Heat, contestant: Contestant, trial: Trial) {
        let deaths = &trial.deaths;
        if deaths.unnoticed > 0 {
            self.note(format!("{heat:?}, {}: {} deaths went unnoticed", contestant.name(), deaths.unnoticed));
        }
        if contestant.is_command() && trial.reported != deaths.late_ms.len() {
            self.note(format!(
                "{heat:?}, {}: {} deaths, {} of them reported",
                contestant.name(),
                deaths.late_ms.len(),
                trial.reported
            ));
        }
        self.trials.entry((heat, contestant)).or_default().push(trial);
    }

    /// Something besides the figures.
    pub(super) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    fn all(&self, heat: Heat, contestant: Contestant) -> &[Trial] {
        self.trials.get(&(heat, contestant)).map_or(&[], Vec::as_slice)
    }

    /// The median, the least and the most of its rounds.
    fn middle(&self, heat: Heat, contestant: Contestant, value: fn(&Trial) -> f64) -> Option<[f64; 3]> {
        middle(self.all(heat, contestant).iter().map(value))
    }

    fn cpu(&self, heat: Heat, contestant: Contestant) -> Option<f64> {
        Some(self.middle(heat, contestant, |trial| trial.cpu)?[0])
    }

    fn cpu_beside(&self, heat: Heat, contestant: Contestant, other: Contestant) -> Option<f64> {
        Some(self.cpu(heat, contestant)? / self.cpu(heat, other)?)
    }

    pub(super) fn print(&self, style: Style, pace: impl Fn(Heat) -> Pace) {
        for heat in [Heat::Idle, Heat::Busy, Heat::Tls] {
            let contestants: Vec<_> =
                self.trials.keys().filter(|key| key.0 == heat).map(|key| key.1).collect();
            if contestants.is_empty() {
                continue;
            }
            let Pace { sessions, interval } = pace(heat);
            style.print_title(format_args!(
                "{} sessions, a heartbeat every {} s each: {}/s",
                thousands(sessions),
                interval.as_secs(),
                thousands(pace(heat).rate())
            ));
            style.print_table(
                &[
                    "server",
                    "CPU s a million: median (min – max)",
                    "/ C epoll",
                    "/ tokio",
                    "bytes a session",
                    "answers a heartbeat",
                    "deaths: ms late",
                    "load: ms late",
                ],
                contestants.into_iter().map(|contestant| self.row(heat, contestant)),
            );
        }
        if !self.notes.is_empty() {
            println!();
            style.print_list(&self.notes);
        }
        style.print_title("Bars");
        style.print_list(self.bars());
    }

    fn row(&self, heat: Heat, contestant: Contestant) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let median = |value| self.middle(heat, contestant, value).map(|[median, ..]| number(median));
        let beside = |other| or_dash(self.cpu_beside(heat, contestant, other).map(number));
        let cpu = self
            .middle(heat, contestant, |trial| trial.cpu)
            .map(|three| three.map(number))
            .map(|[median, least, most]| format!("{median} ({least} – {most})"));
        vec![
            contestant.name().to_owned(),
            or_dash(cpu),
            beside(Contestant::Epoll),
            beside(Contestant::Tokio),
            or_dash(median(|trial| trial.bytes)),
            or_dash(median(|trial| trial.answers)),
            or_dash(
                self.late(&[(heat, contestant)])
                    .map(|[median, least, most]| format!("{median:.0} ({least:.0} – {most:.0})")),
            ),
            // The worst of all: then the servers had to take several heartbeats at once.
            or_dash(
                self.middle(heat, contestant, |trial| trial.behind.as_secs_f64() * 1e3)
                    .map(|[.., most]| number(most)),
            ),
        ]
    }

    /// How late deaths were noticed, over all rounds.
    fn late(&self, of: &[(Heat, Contestant)]) -> Option<[f64; 3]> {
        let trials = of.iter().flat_map(|&(heat, contestant)| self.all(heat, contestant));
        middle(trials.flat_map(|trial| trial.deaths.late_ms.iter().copied()))
    }

    /// What the command is to reach.
    fn bars(&self) -> Vec<Bar> {
        use Contestant::{Answered, Epoll, Negotiated, Session, Tokio};
        let beside = |what: &str, heat, one, other, most| {
            let heat_name = if heat == Heat::Idle { "idle" } else { "busy" };
            let what = format!("{heat_name}: {what}");
            judged(what, self.cpu_beside(heat, one, other), most, "times")
        };
        let bytes = |heat, contestant| Some(self.middle(heat, contestant, |trial| trial.bytes)?[0]);
        let plain = [Answered, Negotiated].into_iter().filter_map(|one| bytes(Heat::Idle, one));
        let command = [Heat::Idle, Heat::Busy, Heat::Tls]
            .map(|heat| [Answered, Negotiated, Contestant::Tls].map(|contestant| (heat, contestant)))
            .concat();
        let late = self.late(&command);
        vec![
            beside(
                "every heartbeat answered takes at most 0.85 of the C epoll loop's CPU",
                Heat::Idle,
                Answered,
                Epoll,
                0.85,
            ),
            beside(
                "every heartbeat answered takes at most 1.1 of the C epoll loop's CPU",
                Heat::Busy,
                Answered,
                Epoll,
                1.1,
            ),
            beside(
                "negotiated takes at most 0.6 of the C epoll loop's CPU",
                Heat::Idle,
                Negotiated,
                Epoll,
                0.6,
            ),
            beside(
                "every heartbeat answered takes less than half of tokio's CPU",
                Heat::Idle,
                Answered,
                Tokio,
                0.5,
            ),
            beside(
                "every heartbeat answered takes less than half of tokio's CPU",
                Heat::Busy,
                Answered,
                Tokio,
                0.5,
            ),
            beside("a session of the library takes at most tokio's CPU", Heat::Idle, Session, Tokio, 1.0),
            beside("a session of the library takes at most tokio's CPU", Heat::Busy, Session, Tokio, 1.0),
            judged(
                "an idle session of the library has at most 2 KiB resident".into(),
                bytes(Heat::Idle, Session),
                SESSION,
                "bytes",
            ),
            judged(
                "an idle plain session has at most 100 bytes resident".into(),
                plain.max_by(f64::total_cmp),
                PLAIN,
                "bytes",
            ),
            judged(
                "an idle session under TLS has at most 8 KiB resident".into(),
                bytes(Heat::Tls, Contestant::Tls),
                TLS,
                "bytes",
            ),
            judged(
                "deaths are noticed at most 150 ms late".into(),
                late.map(|[.., most]| most),
                LATE,
                "ms late",
            ),
            judged("and none early".into(), late.map(|[_, least, _]| (-least).max(0.0)), -EARLY, "ms early"),
        ]
    }
}

fn judged(what: String, value: Option<f64>, most: f64, unit: &str) -> Bar {
    match value {
        Some(value) => Bar::at_most(what, value, most, unit),
        None => Bar::not_judged(what, "not measured"),
    }
}
