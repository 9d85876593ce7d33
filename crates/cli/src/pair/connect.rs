//! `deadpeer connect`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use deadpeer::{Return, Span};
use deadpeer_hub::{Client, ClientConfig, ClientTls, Config, Event, Gateway, GatewayConfig};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::{Connect, ConnectTls};
use super::tell::Teller;
use super::{DONE, EVENTS, NAP, config, plain_side, reachable_by_others};
use crate::exit::{Ended, unless_closed};
use crate::signals;
use crate::terminal::Terminal;

/// Runs `deadpeer connect`.
pub(crate) fn run(args: &Connect) -> Result<Ended, Box<dyn Error>> {
    let policy = args.goals.goals()?.policy()?;
    let mut config = config(&policy)?;
    config.id.clone_from(&args.id);
    // A server that does not even greet is as dead as one that falls silent.
    config.limits.greeting = config.offer.patience.min(config.limits.greeting);
    config.limits.stop_within = args.stop_within;
    let tls = tls(&args.tls, args.server.host())?;
    match args.listen {
        Some(listen) => {
            config.settings = Some(plain_side(&policy)?);
            carry(args, listen, config, tls)
        }
        None => stay(args, config, tls),
    }
}

fn tls(args: &ConnectTls, host: &str) -> Result<Option<ClientTls>, Box<dyn Error>> {
    if !args.tls {
        return Ok(None);
    }
    let identity = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    Ok(Some(ClientTls::from_files(args.tls_name.as_deref().unwrap_or(host), args.ca.as_deref(), identity)?))
}

/// Carries other programs' connections.
fn carry(
    args: &Connect,
    listen: SocketAddr,
    mut config: Config,
    tls: Option<ClientTls>,
) -> Result<Ended, Box<dyn Error>> {
    if reachable_by_others(listen) && !args.insecure {
        return Err(format!(
            "others can reach {listen}, and what they send there is not encrypted: say --insecure to let them"
        )
        .into());
    }
    config.limits.sessions = super::serve::most_sessions(true);
    let promise = Span(config.offer.patience).to_string();
    let mut gateway = GatewayConfig::new(listen, args.server.clone(), config);
    gateway.tls = tls;
    let cancel = signals::cancel()?;
    let (tell, events) = sync_channel(EVENTS);
    let gateway = Gateway::start(gateway, tell).map_err(|error| format!("listening on {listen}: {error}"))?;
    let mut teller = Teller::new(args.json, None);
    let address = gateway.address();
    let text = format!("listening on {address} for {}: a dead side is told within {promise}", args.server);
    let told = teller.listening(address, &text).and_then(|()| teller.follow(&events, &cancel, || {}));
    gateway.stop(DONE)?;
    unless_closed(told)?;
    Ok(Ended::Well)
}

/// Keeps one session up.
fn stay(args: &Connect, config: Config, tls: Option<ClientTls>) -> Result<Ended, Box<dyn Error>> {
    let mut returning = Return::default();
    // The last of them may not fail.
    returning.tries = args.tries.map(|tries| tries.saturating_sub(1));
    let mut client = ClientConfig::new(args.server.clone(), config);
    client.tls = tls;
    client.returning = returning;
    let cancel = signals::cancel()?;
    let (tell, events) = sync_channel(EVENTS);
    let client = Client::start(client, tell)?;
    let bar = (Terminal::of_stdout().is_terminal && !args.json).then(state_line);
    let mut teller = Teller::new(args.json, bar.clone());
    let told = follow(&events, &client, &mut teller, bar.as_ref(), &|| cancel.load(Relaxed));
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    client.stop(DONE)?;
    unless_closed(told)?;
    // Unless it was told to stop, it has used up its tries.
    Ok(if cancel.load(Relaxed) { Ended::Well } else { Ended::Found })
}

fn follow(
    events: &Receiver<Event>,
    client: &Client,
    teller: &mut Teller,
    bar: Option<&ProgressBar>,
    cancelled: &dyn Fn() -> bool,
) -> std::io::Result<()> {
    let mut again = Instant::now();
    while !cancelled() {
        match events.recv_timeout(NAP) {
            Ok(event) => {
                again = match &event {
                    Event::Waiting { wait } => Instant::now() + *wait,
                    _ => Instant::now(),
                };
                teller.tell(&event)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if let Some(bar) = bar {
            bar.set_message(state(client, again.saturating_duration_since(Instant::now())));
        }
    }
    Ok(())
}

/// What there is to say at the bottom of a terminal.
fn state(client: &Client, again: Duration) -> String {
    let Some(session) = client.session() else {
        return match again.as_secs() {
            0 => "connecting".to_owned(),
            seconds => format!("waiting {seconds} s before the next try"),
        };
    };
    let rtt = session.rtt.map(|rtt| format!("{:.1} ms", rtt.as_secs_f64() * 1e3));
    format!(
        "up for {}, heard {} ago, round trip {}",
        Span(Duration::from_secs(session.up.as_secs())),
        Span(Duration::from_millis(session.silent.as_millis() as u64 / 100 * 100)),
        rtt.as_deref().unwrap_or("not measured yet"),
    )
}

fn state_line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
