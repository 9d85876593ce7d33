//! `deadpeer ping`: asks until it is stopped, a line an answer, and sums up.

pub(crate) mod args;
mod tally;

use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::host::{Connection, Filter, Ping, Scan};
use deadpeer::{Answer, AnswerTime, Known, Span, TcpState, Why};

use crate::exit::{Ended, unless_closed};
use crate::plan::json::line;
use crate::scan::json::SCHEMA;
use crate::scan::json::object::{Value, object};
use crate::signals;
use tally::{Outcome, Tally};

/// How long to sleep at most before looking whether we are to stop.
const NAP: Duration = Duration::from_millis(50);

/// Runs `deadpeer ping`.
pub(crate) fn run(args: &args::Ping) -> Result<Ended, Box<dyn Error>> {
    let scan = Scan::new().filter(Filter::parse(&args.filters)?).all_namespaces(args.all_netns);
    let cancel = signals::cancel()?;
    let mut ping = Ping::new(scan, args.interval)?;
    if ping.connections().is_empty() {
        eprintln!("deadpeer: no connection matches");
        return Ok(Ended::Found);
    }
    let mut tally = Tally::new(ping.connections());
    let asked = rounds(args, &mut ping, &mut tally, &cancel);
    // Whatever ended it, what was learned is said.
    let summed_up = unless_closed(sum_up(&tally, args.json));
    asked?;
    summed_up?;
    Ok(if tally.answers() > 0 { Ended::Well } else { Ended::Found })
}

fn rounds(
    args: &args::Ping,
    ping: &mut Ping,
    tally: &mut Tally,
    cancel: &AtomicBool,
) -> Result<(), Box<dyn Error>> {
    if !args.json {
        let count = ping.connections().len();
        let noun = if count == 1 { "connection" } else { "connections" };
        unless_closed(print(&format!("Asking {count} {noun} every {}.\n", Span(ping.interval()))))?;
    }
    for number in 1..=args.count.map_or(u64::MAX, u64::from) {
        let mut written = Ok(());
        let started = Instant::now();
        ping.round(cancel, &mut |connection| {
            let Some(outcome) = tally.add(connection) else { return };
            let line =
                if args.json { json(number, connection, outcome) } else { text(number, connection, outcome) };
            if written.is_ok() {
                written = print(&line);
            }
            if written.is_err() {
                cancel.store(true, Ordering::Relaxed); // nobody reads us any more
            }
        })?;
        unless_closed(written)?;
        let last = args.count.is_some_and(|count| count.get() == number);
        // From this round's start, not on a fixed beat: a late round is not made up for.
        while !last
            && started.elapsed() < ping.interval()
            && !cancel.load(Ordering::Relaxed)
            && !ping.is_over()
        {
            thread::sleep(ping.interval().saturating_sub(started.elapsed()).min(NAP));
        }
        if cancel.load(Ordering::Relaxed) || ping.is_over() {
            break;
        }
    }
    Ok(())
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn text(number: u64, connection: &Connection, outcome: Outcome) -> String {
    let (peer, local) = (connection.row.peer, connection.row.local);
    match outcome {
        Outcome::Answer(Answer::Answered(time)) => {
            let (least, most) = (milliseconds(time.least), milliseconds(time.most));
            match time.exact() {
                Some(_) => format!("answer from {peer} to {local}: seq={number} time={most}\n"),
                None => format!("answer from {peer} to {local}: seq={number} time={least} to {most}\n"),
            }
        }
        Outcome::Answer(Answer::Heard) => format!("data from {peer} to {local}: seq={number}\n"),
        Outcome::Answer(Answer::Reset(after)) => {
            format!("{peer} reset the connection of {local}: seq={number} time={}\n", milliseconds(after))
        }
        Outcome::Answer(Answer::Gone) => format!("{local} to {peer} is gone: closed here\n"),
        Outcome::Answer(Answer::Ended) => {
            format!("{local} to {peer} has ended, its socket does not tell why\n")
        }
        Outcome::Answer(Answer::None) => format!("no answer from {peer} to {local}: seq={number}\n"),
        Outcome::NotAsked(why) => {
            let advice = match why {
                Why::NoPermission | Why::NoNetAdmin | Why::OwnTimers => " (try sudo)",
                _ => "",
            };
            let state = match connection.row.facts.state {
                TcpState::Established => String::new(),
                state => format!(", this one is {}", state.as_str()),
            };
            format!("{local} to {peer} can't be asked: {why}{state}{advice}\n")
        }
    }
}

/// As ping(8) shows it.
fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

fn json(number: u64, connection: &Connection, outcome: Outcome) -> String {
    let (answer, time, why) = match outcome {
        Outcome::Answer(Answer::Answered(time)) => ("answered", Some(time), None),
        Outcome::Answer(Answer::Heard) => ("heard", None, None),
        Outcome::Answer(Answer::Reset(after)) => {
            ("reset", Some(AnswerTime { least: after, most: after }), None)
        }
        Outcome::Answer(Answer::None) => ("none", None, None),
        Outcome::Answer(Answer::Gone) => ("gone", None, None),
        Outcome::Answer(Answer::Ended) => ("ended", None, None),
        Outcome::NotAsked(why) => ("not-asked", None, Some(why.as_str())),
    };
    let pid = match &connection.owner {
        Known::Is(owner) => Some(owner.process.pid),
        Known::Not(_) => None,
    };
    let mut out = Vec::new();
    object!(&mut out, {
        "schema": SCHEMA,
        "seq": number,
        "local": connection.row.local,
        "peer": connection.row.peer,
        "cookie": connection.row.cookie.0,
        "pid": pid,
        "answer": answer,
        "time_ms": time.and_then(AnswerTime::exact),
        "time_least_ms": time.map(|time| time.least),
        "time_most_ms": time.map(|time| time.most),
        "why": why,
    });
    line(out)
}

fn sum_up(tally: &Tally, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in tally.lines() {
        if json {
            out.write_all(summary(line).as_bytes())?;
            continue;
        }
        writeln!(out, "\n--- {} to {} ---", line.local, line.peer)?;
        let without = 100 * (line.questions - line.answers) / line.questions.max(1);
        let (questions, answers) = (line.questions, line.answers);
        write!(out, "{questions} questions, {answers} answers, {without} % without")?;
        if let Some((least, mean, most)) = line.times() {
            let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
            write!(out, ", time min/avg/max = {}/{}/{} ms", ms(least), ms(mean), ms(most))?;
        }
        writeln!(out)?;
    }
    out.flush()
}

fn summary(tallied: &tally::Line) -> String {
    let times = tallied.times();
    let mut out = Vec::new();
    object!(&mut out, {
        "schema": SCHEMA,
        "summary": true,
        "local": tallied.local,
        "peer": tallied.peer,
        "cookie": tallied.cookie,
        "questions": tallied.questions,
        "answers": tallied.answers,
        "min_ms": times.map(|(least, ..)| least),
        "avg_ms": times.map(|(_, mean, _)| mean),
        "max_ms": times.map(|(.., most)| most),
    });
    line(out)
}
