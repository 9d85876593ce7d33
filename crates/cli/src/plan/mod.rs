//! `deadpeer plan`: from what is wanted to what to set.

pub(crate) mod args;
pub(crate) mod emit;
pub(crate) mod json;

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use deadpeer::{BytesPerDay, Plan, Platform, Policy, Set, Span};

use crate::exit::{Ended, unless_closed};
use crate::prose::{Prose, states};
use crate::terminal::Terminal;

/// Runs `deadpeer plan`.
pub(crate) fn run(args: &args::Plan) -> Result<Ended, Box<dyn Error>> {
    let policy = args.goals.goals()?.policy()?;
    let here = deadpeer::platform();
    let platform = args.os.map_or(here, args::Os::platform);
    let plan = match policy.plan(&platform) {
        Ok(plan) => plan,
        Err(unreachable) => {
            if args.json {
                unless_closed(print(&json::refusal(&unreachable)))?;
            }
            return Err(unreachable.into());
        }
    };
    if let Some(target) = args.emit {
        let emitted = emit::emit(target, &plan, &policy, &platform);
        for missing in &emitted.missing {
            eprintln!("deadpeer: {missing}");
        }
        unless_closed(print(&emitted.text))?;
    } else if args.json {
        unless_closed(print(&json::plan(&policy, &platform, &plan)))?;
    } else {
        let mut prose = Prose::new(Terminal::of_stdout());
        tell(&mut prose, &policy, &platform, &plan);
        if matches!(plan.settings.rto_max, Set::To(_)) && !here.rto_max_per_socket {
            prose.item("This machine's kernel has no TCP_RTO_MAX_MS: it came with Linux 6.15.");
        }
        unless_closed(print(&prose.to_string()))?;
    }
    Ok(Ended::Well)
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The whole plan in words.
pub(crate) fn tell(prose: &mut Prose, policy: &Policy, platform: &Platform, plan: &Plan) {
    prose.heading(format!("To {}, on {}:", wanted(policy, plan.outage), platform.system));
    let options: Vec<_> = platform
        .options(&plan.settings)
        .into_iter()
        .filter(|option| option.value > 0) // off is the default
        .map(|option| (option.name, format!("{} {}", option.value, option.unit)))
        .collect();
    prose.pairs(&options);
    prose.heading("A peer that falls silent is noticed after");
    prose.pairs(&states(&plan.detection));
    prose.gap();
    prose.say(format!(
        "An idle connection costs {}: a probe and its answer, {} bytes, every {}.",
        BytesPerDay(plan.bytes_per_day),
        Plan::PROBE_BYTES,
        period(plan)
    ));
    if !plan.warnings.is_empty() || !plan.rounded.is_empty() {
        prose.heading("Mind");
        plan.warnings.iter().for_each(|warning| prose.item(warning));
        plan.rounded.iter().for_each(|rounded| prose.item(rounded));
    }
    prose.heading("Why");
    plan.reasons.iter().for_each(|reason| prose.item(reason));
}

fn period(plan: &Plan) -> String {
    match plan.settings.keepalive {
        Set::To(keepalive) => Span(keepalive.idle().max(keepalive.interval())).to_string(),
        Set::Off | Set::Leave => "-".to_owned(),
    }
}

/// "notice a death within 30 s and survive an outage of 8 s".
pub(crate) fn wanted(policy: &Policy, outage: Duration) -> String {
    let mut text = format!("notice a death within {}", Span(policy.detection_time()));
    if !outage.is_zero() {
        text += &format!(", survive an outage of {}", Span(outage));
    }
    if let Some(timeout) = policy.mapping_timeout() {
        text += &format!(", keep open what forgets after {}", Span(timeout));
    }
    if let Some(budget) = policy.bytes_per_day() {
        text += &format!(", cost at most {}", BytesPerDay(budget));
    }
    if policy.slow_readers() {
        text += ", spare slow readers";
    }
    if policy.accepts_rto_ceiling() {
        text += ", accept an RTO ceiling";
    }
    text
}
