//! Who is here, over HTTP.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use deadpeer_hub::{Counters, Server, SessionStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// The HTTP server, in a thread of its own.
#[derive(Debug)]
pub(super) struct Status {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Status {
    pub(super) fn start(address: SocketAddr, server: Arc<Server>) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind(address).map_err(|error| format!("--status {address}: {error}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("status".to_owned()).spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let serving = axum::serve(listener, router(server)).into_future();
                // Not a graceful shutdown: who holds a connection open must not hold us.
                tokio::select! {
                    served = serving => served,
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = served {
                eprintln!("deadpeer: --status: {error}");
            }
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(async || "deadpeer serve\n\n/sessions  who is here (JSON; ?id=PREFIX)\n/metrics   for Prometheus\n"))
        .route("/sessions", get(sessions))
        .route("/metrics", get(metrics))
        .with_state(server)
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    id: String,
}

/// One session; times in milliseconds.
#[derive(Debug, Serialize)]
struct Here<'s> {
    id: &'s str,
    address: SocketAddr,
    up_ms: u64,
    silent_ms: u64,
    rtt_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Listing<'s> {
    schema: u32,
    count: usize,
    sessions: Vec<Here<'s>>,
}

async fn sessions(State(server): State<Arc<Server>>, Query(wanted): Query<Wanted>) -> Response {
    let listed = tokio::task::spawn_blocking(move || {
        let mut found = server.sessions();
        found.retain(|session| session.id.starts_with(&wanted.id));
        found.sort_by(|a, b| (&a.id, a.address).cmp(&(&b.id, b.address)));
        let sessions: Vec<_> = found.iter().map(here).collect();
        serde_json::to_string(&Listing { schema: 1, count: sessions.len(), sessions })
    });
    answer(listed.await, "application/json")
}

fn here(session: &SessionStatus) -> Here<'_> {
    Here {
        id: &session.id,
        address: session.address,
        up_ms: session.up.as_millis() as u64,
        silent_ms: session.silent.as_millis() as u64,
        rtt_ms: session.rtt.map(|rtt| rtt.as_micros() as f64 / 1e3),
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let written = tokio::task::spawn_blocking(move || {
        let sessions = server.sessions();
        let mut text = String::new();
        encode(&mut text, &registry(&server.counters(), &sessions)).map(|()| text)
    });
    answer(written.await, "application/openmetrics-text; version=1.0.0; charset=utf-8")
}

fn answer<E, J>(made: Result<Result<String, E>, J>, kind: &'static str) -> Response {
    match made {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

/// What has happened and what is, as metrics. Made anew for each question, so that nothing is counted twice.
fn registry(counters: &Counters, sessions: &[SessionStatus]) -> Registry {
    let mut registry = Registry::with_prefix("deadpeer");
    let gauge = |registry: &mut Registry, name: &str, help: &str, value: i64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let counter = |registry: &mut Registry, name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    let by_cause = |registry: &mut Registry, name: &str, help: &str, kinds: &[(&'static str, u64)]| {
        let family = Family::<Cause, Counter>::default();
        for (cause, count) in kinds {
            family.get_or_create(&Cause { cause }).inc_by(*count);
        }
        registry.register(name, help, family);
    };
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    gauge(&mut registry, "sessions", "Sessions that are up", sessions.len() as i64);
    gauge(
        &mut registry,
        "connections",
        "Connections held, those that have not greeted included",
        signed(counters.held),
    );
    gauge(
        &mut registry,
        "buffered_bytes",
        "Bytes held for peers that take no more",
        signed(counters.buffered),
    );
    counter(&mut registry, "arrivals", "Sessions that came up", counters.arrived);
    by_cause(&mut registry, "ends", "Sessions that ended, by cause", &counters.ended);
    by_cause(&mut registry, "refusals", "Connections that were refused, by cause", &counters.refused);
    counter(&mut registry, "untold_events", "Events that found no reader", counters.untold);
    counter(
        &mut registry,
        "forwarded_to_plain_bytes",
        "Bytes carried from sessions to the plain side",
        counters.bytes_to_plain,
    );
    counter(
        &mut registry,
        "forwarded_from_plain_bytes",
        "Bytes carried from the plain side to sessions",
        counters.bytes_from_plain,
    );
    registry.register("rtt_seconds", "Round-trip times, application to application", Rtt::of(sessions));
    registry
}

/// The round-trip times of all sessions that are up, as quantiles of this moment.
#[derive(Debug)]
struct Rtt;

impl Rtt {
    fn of(sessions: &[SessionStatus]) -> Family<Quantile, Gauge<f64, std::sync::atomic::AtomicU64>> {
        let mut times: Vec<f64> =
            sessions.iter().filter_map(|session| session.rtt).map(|rtt| rtt.as_secs_f64()).collect();
        times.sort_unstable_by(f64::total_cmp);
        let family = Family::default();
        if let Some(last) = times.len().checked_sub(1) {
            for (quantile, share) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
                let gauge: &Gauge<f64, _> = &family.get_or_create(&Quantile { quantile });
                gauge.set(times[(last as f64 * share).round() as usize]);
            }
        }
        family
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Quantile {
    quantile: &'static str,
}
