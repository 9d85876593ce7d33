//! `deadpeer serve`.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use deadpeer::Span;
use deadpeer_hub::{Limits, Server, ServerConfig, ServerTls};

use super::args::{LimitArgs, Serve};
use super::status::Status;
use super::tell::Teller;
use super::{EVENTS, RESTARTING, config, plain_side, reachable_by_others};
use crate::exit::{Ended, unless_closed};
use crate::signals;

/// Runs `deadpeer serve`.
pub(crate) fn run(args: &Serve) -> Result<Ended, Box<dyn Error>> {
    let policy = args.goals.goals()?.policy()?;
    let mut config = config(&policy)?;
    if let Some(every) = args.beat_every {
        config.offer.send = config.offer.send.max(every);
    }
    config.id.clone_from(&args.id);
    config.limits = limits(&args.limits, args.forward.is_some())?;
    if let Some(loops) = args.limits.loops {
        config.loops = loops;
    }
    let tls = match (&args.tls.tls_cert, &args.tls.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(ServerTls::from_files(certificate, key, args.tls.client_ca.as_deref())?)
        }
        _ => None,
    };
    if reachable_by_others(args.listen) && tls.is_none() && !args.tls.insecure {
        let address = args.listen;
        return Err(format!(
            "others can reach {address}, and sessions would neither be encrypted nor proven: \
             give --tls-cert and --tls-key, or say --insecure"
        )
        .into());
    }
    let mut promise = format!(
        "a silent client is missed after {}, {} sessions at most",
        Span(config.offer.patience),
        config.limits.sessions
    );
    if let Some(place) = &args.forward {
        config.settings = Some(plain_side(&policy)?);
        promise.push_str(&format!("; forwarding to {place}"));
    }
    let mut server = ServerConfig::new(args.listen, config);
    server.forward.clone_from(&args.forward);
    server.tls = tls;

    let cancel = signals::cancel()?;
    let (tell, events) = sync_channel(EVENTS);
    let server =
        Server::start(server, tell).map_err(|error| format!("listening on {}: {error}", args.listen))?;
    let server = Arc::new(server);
    // Bound before the first line says that all is ready.
    let status = args.status.map(|address| Status::start(address, Arc::clone(&server))).transpose()?;

    let mut teller = Teller::new(args.json, None);
    let mut text = format!("listening on {}: {promise}", server.address());
    if let Some(status) = &status {
        text.push_str(&format!("; status at http://{}", status.address()));
    }
    let mut untold = 0;
    let complain = || {
        let now = server.counters().untold;
        if now != untold {
            untold = now;
            eprintln!("deadpeer: {now} events were not told: whoever reads them is too slow");
        }
    };
    let told = teller.listening(server.address(), &text);
    let told = told.and_then(|()| teller.follow(&events, &cancel, complain));
    drop(status);
    // The status thread has ended, so this is the last one; if it is not, dropping says goodbye as well.
    if let Some(server) = Arc::into_inner(server) {
        server.stop(RESTARTING)?;
    }
    unless_closed(told)?;
    Ok(Ended::Well)
}

/// What was told, and as many sessions as descriptors allow.
fn limits(args: &LimitArgs, joined: bool) -> Result<Limits, Box<dyn Error>> {
    let most = most_sessions(joined);
    let mut limits = Limits::default();
    limits.sessions = match args.max_sessions.map(NonZeroUsize::get) {
        None => most,
        Some(wanted) if wanted <= most => wanted,
        Some(wanted) => {
            return Err(format!(
                "--max-sessions {wanted}: the limit of open files allows {most}; raise it (ulimit -n, LimitNOFILE=)"
            )
            .into());
        }
    };
    limits.sessions_per_address = args.max_per_address;
    limits.buffered_per_session = args.max_buffer as usize;
    limits.buffered = usize::try_from(args.max_buffers).unwrap_or(usize::MAX);
    limits.greeting = args.greeting;
    limits.stop_within = args.stop_within;
    Ok(limits)
}

/// As many sessions as descriptors allow; a joined one takes two.
pub(super) fn most_sessions(joined: bool) -> usize {
    /// For listeners, loops, the status' connections.
    const OTHERS: usize = 64;
    /// Where nothing else limits them.
    const MANY: usize = 1_000_000;
    let each = if joined { 2 } else { 1 };
    descriptors().map_or(MANY, |descriptors| (descriptors.saturating_sub(OTHERS) / each).min(MANY))
}

/// So many descriptors this process may have, after raising its limit as far as it may; `None` for no limit.
#[cfg(unix)]
fn descriptors() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn descriptors() -> Option<usize> {
    None
}
