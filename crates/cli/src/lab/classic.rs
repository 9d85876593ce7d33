//! The field's classic keepalive settings, in real time.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::{Bound, Protection, Settings, apply_settings, detection};
use deadpeer_lab::Pair;

use super::cell::Outcome;
use super::expect::World;
use super::method::classic;
use super::observe::Watch;
use super::scene::sever;

/// Idle and interval in seconds, probes: as the texts have them.
const SETTINGS: [(u64, u64, u8); 7] =
    [(4, 2, 2), (5, 5, 3), (5, 1, 5), (5, 1, 10), (10, 5, 5), (30, 5, 5), (60, 5, 3)];

/// A setting, what it should lead to, and what it did.
#[derive(Debug)]
pub(super) struct Classic {
    pub(super) name: String,
    pub(super) least: Duration,
    pub(super) most: Duration,
    pub(super) outcome: Outcome,
}

impl Classic {
    pub(super) fn is_as_expected(&self, lateness: Duration) -> bool {
        match &self.outcome {
            Outcome::Noticed { after, .. } => {
                *after + Duration::from_millis(50) >= self.least
                    && *after <= self.most + Duration::from_millis(500) + lateness
            }
            Outcome::Not { .. } => false,
            Outcome::LeftOut { .. } => true,
        }
    }
}

/// Measures all of them at the same time: an idle connection whose peer's host dies.
pub(super) fn measure(world: &World, cancel: &AtomicBool) -> Vec<Classic> {
    thread::scope(|scope| {
        let measuring: Vec<_> =
            SETTINGS.into_iter().map(|values| scope.spawn(move || one(values, world, cancel))).collect();
        measuring.into_iter().filter_map(|one| one.join().ok()).collect()
    })
}

fn one((idle, interval, probes): (u64, u64, u8), world: &World, cancel: &AtomicBool) -> Classic {
    let settings = Settings { keepalive: classic(idle, interval, probes), ..Settings::default() };
    let predicted = detection(&Protection::of(&settings), &world.platform, Duration::from_millis(204)).idle;
    let (least, most) = match predicted {
        Bound::Within { least, most } => (least, most),
        Bound::Never | Bound::Unknown(_) => (Duration::ZERO, Duration::MAX),
    };
    let run = || -> io::Result<Outcome> {
        let pair = Pair::loopback()?;
        // A gap would show as a time outside the range.
        let _ = apply_settings(&pair.client, &settings).map_err(io::Error::other)?;
        let since = Instant::now();
        let _severed = sever(&pair)?;
        let stream: &TcpStream = &pair.client;
        Ok(Watch { since, limit: most + Duration::from_secs(5), cancel }.read(stream))
    };
    let outcome = run().unwrap_or_else(|error| Outcome::LeftOut { why: error.to_string() });
    Classic { name: format!("{idle}/{interval}/{probes}"), least, most, outcome }
}
