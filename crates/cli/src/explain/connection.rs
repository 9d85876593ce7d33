//! `deadpeer explain FILTER`: connections' stories.

use std::error::Error;
use std::io::{self, Write};

use deadpeer::host::{Connection, Filter, Finding, Scan};
use deadpeer::{Known, Policy, Protection, Span, TcpState, concerns};

use super::{args, json};
use crate::exit::{Ended, unless_closed};
use crate::plan;
use crate::prose::{Prose, states};
use crate::terminal::Terminal;

pub(super) fn run(args: &args::Explain, policy: &Policy) -> Result<Ended, Box<dyn Error>> {
    let filter = Filter::parse(&args.filters)?;
    let report = Scan::new().filter(filter).all_namespaces(args.all_netns).run()?;
    let findings = report.findings();
    let Some(last) = findings.len().checked_sub(1) else {
        eprintln!("deadpeer: no connection matches");
        return Ok(Ended::Found);
    };
    let shown = &findings[..args.limit.min(last + 1)];
    unless_closed(write(shown, policy, args.json))?;
    if shown.len() < findings.len() {
        eprintln!("deadpeer: {} more match (--limit)", findings.len() - shown.len());
    }
    Ok(Ended::Well)
}

fn write(findings: &[Finding<'_>], policy: &Policy, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (n, finding) in findings.iter().enumerate() {
        if json {
            out.write_all(json::line(finding, policy).as_bytes())?;
            continue;
        }
        if n > 0 {
            writeln!(out)?;
        }
        let mut prose = Prose::new(Terminal::of_stdout());
        tell(&mut prose, finding, policy);
        write!(out, "{prose}")?;
    }
    out.flush()
}

fn tell(prose: &mut Prose, finding: &Finding<'_>, policy: &Policy) {
    let connection = finding.connection;
    let facts = connection.facts();
    prose.heading(format!("{} to {}{}", connection.row.local, connection.row.peer, owner(connection)));
    let judgement = finding.judgement();
    let evidence: Vec<_> = judgement.evidence().map(ToString::to_string).collect();
    prose.say(format!(
        "The verdict is {} ({}): {}. {}",
        finding.verdict,
        judgement.cause(),
        evidence.join(", "),
        state(facts.state)
    ));
    prose.heading("What is set on it");
    prose.pairs(&settings(connection));
    prose.heading("A peer that falls silent is noticed after");
    // A connection attempt is another state than all that follow it.
    let connecting = facts.state == TcpState::SynSent;
    let states = states(&connection.detection()).into_iter();
    prose.pairs(&states.filter(|(state, _)| (*state == "connecting") == connecting).collect::<Vec<_>>());
    let concerns = concerns(&connection.protection, connection.platform(), facts.rto, policy);
    if concerns.is_empty() {
        prose.gap();
        return prose
            .say(format!("Nothing is wrong with that, to {}.", plan::wanted(policy, policy.outage())));
    }
    prose.heading("What is wrong with that, or to be known");
    concerns.iter().for_each(|concern| prose.item(concern));
    what_to_set(prose, connection.platform(), policy);
}

/// What to set, briefly: the whole plan is another command's.
fn what_to_set(prose: &mut Prose, platform: &deadpeer::Platform, policy: &Policy) {
    match policy.plan(platform) {
        Ok(plan) => {
            prose.heading(format!("What to set, to {}", plan::wanted(policy, plan.outage)));
            let options = platform.options(&plan.settings);
            let options = options.iter().filter(|option| option.value > 0);
            let options: Vec<_> =
                options.map(|option| (option.name, format!("{} {}", option.value, option.unit))).collect();
            prose.pairs(&options);
            prose.gap();
            prose.say("Why, and what it costs: `deadpeer plan` with the same goals.");
        }
        Err(unreachable) => {
            prose.gap();
            prose.say(format!("No settings do better as wanted: {unreachable}."));
        }
    }
}

fn owner(connection: &Connection) -> String {
    match &connection.owner {
        Known::Is(owner) => {
            let process = &owner.process;
            let name = process.name.as_deref().unwrap_or("?");
            match &process.unit {
                Some(unit) => format!(", {name}/{} ({unit})", process.pid),
                None => format!(", {name}/{}", process.pid),
            }
        }
        Known::Not(why) => format!(" ({why})"),
    }
}

fn state(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => {
            "The state \"established\" says nothing about the peer; only segments from the peer do."
        }
        TcpState::CloseWait => {
            "The peer has closed its sending side and may still read; the program here closes it when it is done."
        }
        TcpState::FinWait2 => {
            "The program here has closed its sending side and may still read; nothing but keepalive notices if the \
             peer dies now."
        }
        TcpState::SynSent => "Nobody has answered our SYN yet.",
        TcpState::TimeWait => "It is over; the kernel remembers it for a minute.",
        TcpState::Listen => "It waits for connections, which inherit its settings.",
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing => "It is being closed.",
        _ => "It is being opened or over.",
    }
}

/// Name and value of everything that decides.
fn settings(connection: &Connection) -> Vec<(&'static str, String)> {
    let Protection { keepalive, user_timeout, rto_max } = connection.protection;
    let keepalive = match keepalive {
        Known::Not(why) => format!("unknown: {why}"),
        Known::Is(seen) if !seen.enabled => "off".to_owned(),
        Known::Is(seen) => match seen.values {
            Known::Is(values) => format!(
                "on: first probe after {}, then every {}, {} in all",
                Span(values.idle()),
                Span(values.interval()),
                values.probes()
            ),
            Known::Not(why) => format!("on, with unknown times: {why}"),
        },
    };
    let timeout = match user_timeout {
        Known::Is(Some(timeout)) => Span(timeout).to_string(),
        Known::Is(None) => "off".to_owned(),
        Known::Not(why) => format!("unknown: {why}"),
    };
    let mut settings = vec![("SO_KEEPALIVE", keepalive), ("TCP_USER_TIMEOUT", timeout)];
    let ceiling = match (rto_max, connection.platform().rto_max) {
        // The kernel's own ceiling is no option of any socket's there.
        _ if !connection.platform().rto_max_per_socket => return settings,
        (Known::Is(Some(ceiling)), _) => Span(ceiling).to_string(),
        (Known::Is(None), Known::Is(system)) => format!("{}, the system's", Span(system)),
        (Known::Is(None), Known::Not(why)) | (Known::Not(why), _) => format!("unknown: {why}"),
    };
    settings.push(("TCP_RTO_MAX_MS", ceiling));
    settings
}
