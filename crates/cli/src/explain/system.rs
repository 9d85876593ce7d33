//! `deadpeer explain --system`: what a socket gets that sets nothing.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use deadpeer::{
    Connecting, KeepaliveSeen, Known, Plan, Platform, Policy, Protection, System, Why, concerns, detection,
};

use super::json;
use crate::exit::{Ended, unless_closed};
use crate::plan;
use crate::prose::{Prose, states};
use crate::terminal::Terminal;

pub(super) fn run(policy: &Policy, json: bool) -> Result<Ended, Box<dyn Error>> {
    let platform = deadpeer::platform();
    let text = match json {
        true => json::system(&platform, policy),
        false => {
            let mut prose = Prose::new(Terminal::of_stdout());
            tell(&mut prose, &platform, policy);
            prose.to_string()
        }
    };
    unless_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(Ended::Well)
}

/// A socket without keepalive, and one that only turns it on.
pub(super) fn untouched(platform: &Platform) -> [(&'static str, Protection); 2] {
    let socket = |enabled, values| Protection {
        keepalive: Known::Is(KeepaliveSeen { enabled, values }),
        user_timeout: Known::Is(None),
        rto_max: Known::Is(None),
    };
    [
        ("sets nothing", socket(false, Known::Not(Why::KeepaliveOff))),
        ("only turns SO_KEEPALIVE on", socket(true, platform.keepalive.values())),
    ]
}

/// A default that decides: a sysctl, on Windows a value of the registry.
pub(super) struct Default {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: Known<u64>,
    unit: &'static str,
}

/// The defaults that decide.
pub(super) fn defaults(platform: &Platform) -> Vec<Default> {
    let default = |name, value, unit| Default { name, value, unit };
    let ms = |time: Known<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let (idle, interval) = (platform.keepalive.idle, platform.keepalive.interval);
    let (probes, retries) = (platform.keepalive.probes.map(u64::from), platform.retries.map(u64::from));
    match platform.system {
        System::Windows => vec![
            default("KeepAliveTime", ms(idle), "ms"),
            default("KeepAliveInterval", ms(interval), "ms"),
            default("TcpMaxDataRetransmissions", retries, ""),
        ],
        System::MacOs | System::FreeBsd => vec![
            default("net.inet.tcp.keepidle", ms(idle), "ms"),
            default("net.inet.tcp.keepintvl", ms(interval), "ms"),
            default("net.inet.tcp.keepcnt", probes, ""),
        ],
        _ => {
            let seconds = |time: Known<Duration>| time.map(|time| time.as_secs());
            let mut sysctls = vec![
                default("net.ipv4.tcp_keepalive_time", seconds(idle), "s"),
                default("net.ipv4.tcp_keepalive_intvl", seconds(interval), "s"),
                default("net.ipv4.tcp_keepalive_probes", probes, ""),
                default("net.ipv4.tcp_retries2", retries, ""),
            ];
            if let Connecting::Retries { doubling, equal } = platform.connecting {
                sysctls.push(default("net.ipv4.tcp_syn_retries", doubling.map(u64::from), ""));
                sysctls.push(default("net.ipv4.tcp_syn_linear_timeouts", equal.map(u64::from), ""));
            }
            let ceiling = match platform.rto_max_per_socket {
                true => ms(platform.rto_max),
                false => Known::Not(Why::NotOnThisKernel),
            };
            sysctls.push(default("net.ipv4.tcp_rto_max_ms", ceiling, "ms"));
            sysctls
        }
    }
}

fn meaning(name: &str) -> &'static str {
    match name {
        "net.ipv4.tcp_keepalive_time" | "net.inet.tcp.keepidle" | "KeepAliveTime" => {
            "idle before the first probe, where a program turns keepalive on"
        }
        "net.ipv4.tcp_keepalive_intvl" | "net.inet.tcp.keepintvl" | "KeepAliveInterval" => "between probes",
        "net.ipv4.tcp_keepalive_probes" | "net.inet.tcp.keepcnt" => "unanswered probes that end it",
        "net.ipv4.tcp_retries2" => "retransmissions of data, by the kernel's model",
        "TcpMaxDataRetransmissions" => "retransmissions of data",
        "net.ipv4.tcp_syn_retries" => "retransmissions of a SYN, at doubling distance",
        "net.ipv4.tcp_syn_linear_timeouts" => "and before those, a second apart",
        _ => "the longest pause between retransmissions",
    }
}

fn tell(prose: &mut Prose, platform: &Platform, policy: &Policy) {
    prose.heading(match platform.system {
        System::Linux => "This network namespace's defaults",
        System::Windows => "The registry's defaults, in Tcpip\\Parameters",
        _ => "This system's defaults",
    });
    let lines = defaults(platform).into_iter().map(|Default { name, value, unit }| {
        let space = if unit.is_empty() { "" } else { " " };
        let told = match value {
            Known::Is(value) => format!("{value}{space}{unit}: {}", meaning(name)),
            Known::Not(why @ Why::NotOnThisKernel) => why.to_string(),
            Known::Not(why) => format!("unknown ({why}): {}", meaning(name)),
        };
        (name, told)
    });
    prose.pairs(&lines.collect::<Vec<_>>());
    if let Some(probes) = platform.fixed_probes {
        prose.item(format!(
            "This Windows knows no TCP_KEEPCNT: it sends {probes} probes, whatever one wishes."
        ));
    }
    if platform.system == System::Linux && !platform.rto_max_per_socket {
        prose.item("There is no TCP_RTO_MAX_MS on this kernel: it came with Linux 6.15.");
    }
    for (who, protection) in untouched(platform) {
        let predicted = detection(&protection, platform, Plan::RTO);
        prose.heading(format!("For a socket that {who}, a silent peer is noticed after"));
        prose.pairs(&states(&predicted));
    }
    prose.heading(format!("To {}", plan::wanted(policy, policy.outage())));
    let [_, (_, on)] = untouched(platform);
    let wrong = concerns(&on, platform, Plan::RTO, policy);
    match wrong.is_empty() {
        true => prose.say("turning SO_KEEPALIVE on is enough here."),
        false => wrong.iter().for_each(|concern| prose.item(concern)),
    }
    prose.gap();
    let (what, emit, who) = match platform.system {
        System::Linux => ("Sysctls change", "sysctl", " A container has sysctls of its own."),
        System::Windows => ("The registry changes", "windows-registry", ""),
        _ => ("Sysctls change", "sysctl", ""),
    };
    prose.say(format!(
        "{what} what sockets get that say nothing else (`deadpeer plan --detect {}s --emit {emit}`); a user \
         timeout has none, each program sets its own (`deadpeer plan`).{who}",
        policy.detection_time().as_secs_f64()
    ));
}
