//! A plan's settings for one place: a language, the system, a server.

mod c;
mod go;
mod haproxy;
mod nginx;
mod postgres;
mod python;
mod redis;
mod rust;
mod sysctl;
mod windows_registry;

use clap::ValueEnum;
use deadpeer::{Keepalive, Plan, Platform, Policy, Set, SocketOption, System};

/// Where the settings are to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// A function in Rust (crate socket2).
    Rust,
    /// A function in C.
    C,
    /// A function in Python.
    Python,
    /// A function in Go.
    Go,
    /// Lines for sysctl.conf(5).
    Sysctl,
    /// A .reg file for Windows.
    WindowsRegistry,
    /// Lines for postgresql.conf.
    Postgres,
    /// A line for redis.conf.
    Redis,
    /// A listen directive of nginx.
    Nginx,
    /// Sections for haproxy.cfg.
    Haproxy,
}

/// A snippet, and what it can't say.
#[derive(Clone, Debug)]
pub(crate) struct Emitted {
    pub(crate) text: String,
    pub(crate) missing: Vec<String>,
}

/// What a target has to express.
struct Wanted<'p> {
    plan: &'p Plan,
    policy: &'p Policy,
    platform: &'p Platform,
    keepalive: Keepalive,
    options: Vec<SocketOption>,
}

/// What a target writes: its lines, and the options that it has no word for, with the reason.
#[derive(Default)]
struct Written {
    lines: String,
    missing: Vec<String>,
}

impl Written {
    fn line(&mut self, line: impl AsRef<str>) {
        self.lines.push_str(line.as_ref());
        self.lines.push('\n');
    }

    fn cannot(&mut self, option: &str, why: &str) {
        self.missing.push(format!("{option} can't be set here: {why}"));
    }
}

impl Wanted<'_> {
    /// The value of the bound on unacknowledged data in milliseconds, and its option.
    fn bound(&self) -> Option<(&'static str, u128)> {
        match self.plan.settings.user_timeout {
            Set::To(bound) => Some((self.platform.bound.option, bound.as_millis())),
            Set::Off | Set::Leave => None,
        }
    }

    /// The same where it is TCP_USER_TIMEOUT, which servers have a word for.
    fn user_timeout(&self, written: &mut Written, who: &str) -> Option<u128> {
        let (option, milliseconds) = self.bound()?;
        if self.platform.system == System::Linux {
            return Some(milliseconds);
        }
        written.cannot(option, &format!("{who} knows Linux' TCP_USER_TIMEOUT only"));
        None
    }

    fn rto_max(&self) -> Option<u128> {
        match self.plan.settings.rto_max {
            Set::To(ceiling) => Some(ceiling.as_millis()),
            Set::Off | Set::Leave => None,
        }
    }

    /// Whole seconds, rounded up.
    fn seconds(duration: std::time::Duration) -> u128 {
        duration.as_millis().div_ceil(1000)
    }

    /// Says that the bound and the RTO ceiling have no place here.
    fn without_bounds(&self, written: &mut Written, who: &str) {
        if let Some((option, _)) = self.bound() {
            written.cannot(option, &format!("{who} has no word for it; data in flight stays unbounded"));
        }
        self.without_rto_max(written, who);
    }

    fn without_rto_max(&self, written: &mut Written, who: &str) {
        if self.rto_max().is_some() {
            written.cannot("TCP_RTO_MAX_MS", &format!("{who} has no word for it"));
        }
    }
}

/// The settings for `target`. What is missing stands in the snippet, too, as comments.
pub(crate) fn emit(target: Target, plan: &Plan, policy: &Policy, platform: &Platform) -> Emitted {
    let Set::To(keepalive) = plan.settings.keepalive else {
        return Emitted { text: String::new(), missing: Vec::new() }; // no plan is without
    };
    // Off is what a new socket has.
    let options = platform.options(&plan.settings).into_iter().filter(|option| option.value > 0).collect();
    let wanted = Wanted { plan, policy, platform, keepalive, options };
    let (comment, written) = match target {
        Target::Rust => ("//", rust::write(&wanted)),
        Target::C => ("//", c::write(&wanted)),
        Target::Python => ("#", python::write(&wanted)),
        Target::Go => ("//", go::write(&wanted)),
        Target::Sysctl => ("#", sysctl::write(&wanted)),
        Target::WindowsRegistry => (";", windows_registry::write(&wanted)),
        Target::Postgres => ("#", postgres::write(&wanted)),
        Target::Redis => ("#", redis::write(&wanted)),
        Target::Nginx => ("#", nginx::write(&wanted)),
        Target::Haproxy => ("#", haproxy::write(&wanted)),
    };
    let mut text = format!("{comment} To {}, on {}.\n", super::wanted(policy, plan.outage), platform.system);
    for missing in &written.missing {
        text += &format!("{comment} {missing}.\n");
    }
    let lines_set_it = matches!(target, Target::C | Target::Python | Target::Go);
    if lines_set_it && wanted.rto_max().is_some() {
        text += &format!(
            "{comment} Before you close the socket, set TCP_RTO_MAX_MS to 120000, or data may be lost.\n"
        );
    }
    text += &written.lines;
    if target == Target::WindowsRegistry {
        text = windows_registry::file(&text);
    }
    Emitted { text, missing: written.missing }
}

/// The number of an option of IPPROTO_TCP, for languages without its name: Linux' uapi/linux/tcp.h, macOS'
/// and FreeBSD's netinet/tcp.h, Windows' ws2ipdef.h.
fn number(system: System, name: &str) -> Option<u32> {
    Some(match (system, name) {
        (System::Linux, "TCP_KEEPIDLE") => 4,
        (System::Linux, "TCP_KEEPINTVL") => 5,
        (System::Linux, "TCP_KEEPCNT") => 6,
        (System::Linux, "TCP_USER_TIMEOUT") => 18,
        (System::Linux, "TCP_RTO_MAX_MS") => 44,
        (System::MacOs, "TCP_KEEPALIVE") => 0x10,
        (System::MacOs, "TCP_KEEPINTVL") => 0x101,
        (System::MacOs, "TCP_KEEPCNT") => 0x102,
        (System::MacOs, "TCP_RXT_CONNDROPTIME") => 0x80,
        (System::FreeBsd, "TCP_KEEPIDLE") => 256,
        (System::FreeBsd, "TCP_KEEPINTVL") => 512,
        (System::FreeBsd, "TCP_KEEPCNT") => 1024,
        (System::FreeBsd, "TCP_MAXUNACKTIME") => 68,
        (System::Windows, "TCP_KEEPIDLE") => 3,
        (System::Windows, "TCP_MAXRT") => 5,
        (System::Windows, "TCP_KEEPCNT") => 16,
        (System::Windows, "TCP_KEEPINTVL") => 17,
        _ => return None,
    })
}
