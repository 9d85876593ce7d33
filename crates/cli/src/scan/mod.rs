//! `deadpeer scan`.

pub(crate) mod args;
mod group;
pub(crate) mod json;
mod progress;
mod stream;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use deadpeer::host::{Filter, Finding, Pace, Report, Scan};
use deadpeer::{Known, Rules, Verdict};

use crate::exit::{Ended, unless_closed};
use crate::signals;
use crate::terminal::Terminal;
use args::{Rate, Sort};
use progress::Progress;
use stream::{Stream, Written};

pub(crate) use json::write as write_json;
pub(crate) use table::write as write_table;

/// Runs `deadpeer scan`.
pub(crate) fn run(args: &args::Scan) -> Result<Ended, Box<dyn Error>> {
    let terminal = Terminal::of_stdout();
    let filter = filter(args)?;
    let pace = pace(args)?;
    let cancel = signals::cancel()?;
    let in_any_order = args.sort.is_none() && args.limit.is_none() && args.group_by.is_none();
    let mut stream = match args.json && args.probe && in_any_order {
        true => Some(Stream::start()?),
        false => None,
    };
    let report = scan(args, filter, pace, &cancel, stream.as_mut())?;
    let written = stream.map(Stream::finish).transpose();
    if report.torn {
        eprintln!("deadpeer: the kernel's list kept changing while it was read; a connection may be missing");
    }
    for unseen in &report.unseen {
        eprintln!("deadpeer: {unseen}");
    }
    for namespace in &report.busy {
        eprintln!(
            "deadpeer: nobody in the network namespace {namespace} was asked: another deadpeer asked there all the \
             time"
        );
    }
    let mut findings = report.findings();
    sort(&mut findings, args.sort.unwrap_or(Sort::Verdict));
    unless_closed(written.and_then(|written| write(args, &findings, terminal, written.as_ref())))?;
    if report.interrupted {
        return Ok(Ended::Interrupted);
    }
    let found = findings.iter().any(|finding| args.fail_on.contains(&finding.verdict));
    Ok(if found { Ended::Found } else { Ended::Well })
}

fn filter(args: &args::Scan) -> Result<Filter, Box<dyn Error>> {
    let mut filter = Filter::parse(&args.filters)?;
    if args.v4 {
        filter = filter.v4();
    }
    if args.v6 {
        filter = filter.v6();
    }
    Ok(filter)
}

fn pace(args: &args::Scan) -> Result<Pace, Box<dyn Error>> {
    let Rate(per_second) = args.rate;
    let mut pace = Pace::default().gap(args.gap)?.timeout(args.timeout).per_second(per_second);
    if let Some(tries) = args.tries {
        pace = pace.tries(tries)?;
    }
    Ok(pace.check()?)
}

fn scan(
    args: &args::Scan,
    filter: Filter,
    pace: Pace,
    cancel: &AtomicBool,
    stream: Option<&mut Stream>,
) -> Result<Report, Box<dyn Error>> {
    let rules =
        Rules { fresh: args.fresh, leaked_after: args.leaked_after, stalled_after: args.stalled_after };
    let mut progress = Progress::new();
    let mut tell = |done, total| progress.tell(done, total);
    let mut each = stream.map(|stream| |finding: &Finding<'_>| stream.write(finding));
    let mut scan = Scan::new()
        .filter(filter)
        .rules(rules)
        .listeners(args.listeners)
        .all_namespaces(args.all_netns)
        .settings(!args.skip_settings)
        .cancel(cancel);
    if args.probe {
        scan = scan.probe(pace).progress(&mut tell);
    }
    if let Some(each) = &mut each {
        scan = scan.each(each);
    }
    let report = scan.run();
    progress.clear();
    Ok(report?)
}

fn sort(findings: &mut [Finding<'_>], order: Sort) {
    let process = |finding: &Finding<'_>| match &finding.connection.owner {
        Known::Is(owner) => (owner.process.name.clone(), owner.process.pid),
        Known::Not(_) => (None, 0),
    };
    match order {
        Sort::Verdict => {} // the library's own order
        Sort::Peer => findings.sort_by_key(|finding| finding.connection.row.peer),
        Sort::Local => findings.sort_by_key(|finding| finding.connection.row.local),
        Sort::Process => findings.sort_by_cached_key(process),
        Sort::Idle => {
            findings.sort_by_key(|finding| Reverse(finding.connection.facts().last_heard.value()));
        }
    }
}

/// Whether a person should look at it.
fn needs_attention(finding: &Finding<'_>) -> bool {
    matches!(finding.verdict, Verdict::Dead | Verdict::Suspect | Verdict::Leaked | Verdict::Stalled)
}

fn write(
    args: &args::Scan,
    findings: &[Finding<'_>],
    terminal: Terminal,
    written: Option<&Written>,
) -> io::Result<()> {
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut out = io::stdout().lock();
    if let Some(key) = args.group_by {
        group::write(&mut out, findings, key, args.json, limit)?;
    } else if let Some(written) = written {
        let rest: Vec<_> = findings.iter().filter(|finding| !written.contains(finding)).copied().collect();
        json::write(&mut out, &rest)?;
    } else if args.json {
        let all = findings.len().min(limit);
        json::write(&mut out, &findings[..all])?;
    } else {
        // A filter that names a verdict, listeners or an order of its own says what to list.
        let everything = args.all || args.listeners || !terminal.is_terminal || !args.filters.is_empty();
        let listed: Vec<_> =
            findings.iter().filter(|finding| everything || needs_attention(finding)).take(limit).collect();
        table::write(&mut out, &listed, &args.columns, terminal)?;
        if terminal.is_terminal {
            writeln!(out, "{}", summary::line(findings))?;
            if let Some(hint) = summary::hint(findings, args.probe, listed.len()) {
                writeln!(out, "{hint}")?;
            }
        }
    }
    out.flush()?;
    if !terminal.is_terminal && !args.json && args.group_by.is_none() {
        eprintln!("{}", summary::line(findings));
    }
    if args.probe
        && let Some(line) = summary::not_asked(findings)
    {
        eprintln!("{line}");
    }
    Ok(())
}
