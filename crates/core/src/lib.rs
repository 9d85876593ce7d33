//! What is wanted of a TCP connection, what to set for it, how long a peer's death then goes unnoticed, and
//! what the facts about a connection prove.
//!
//! ```text
//! Policy ──plan──▶ Settings ──(a socket)──▶ Protection ──detection──▶ Detection
//!                                │
//!                              Facts ──judge──▶ Judgement (verdict, cause, evidence)
//! ```
//!
//! This crate knows no socket and no clock: everything it is told arrives as plain data, and time is an
//! argument. It is `no_std`, forbids `unsafe` and depends on nothing. The rules that hold here:
//!
//! 1. A timing formula stands once. Whoever predicts calls [`detection()`]; whoever asks how long something
//!    has gone unanswered calls [`Facts::silence`].
//! 2. A [`Judgement`] has a verdict, a cause and at least one piece of evidence, always.
//! 3. What is not known says why ([`Known`]); nothing is guessed.
//! 4. Silence is evidence, never proof of more than silence: `dead` needs enough tries, enough time, and
//!    our own path up.
//!
//! ```
//! use core::time::Duration;
//! use deadpeer_core::{Bound, Platform, Policy};
//!
//! let policy = Policy::detect(Duration::from_secs(15)).survive(Duration::from_secs(5)).build()?;
//! let plan = policy.plan(&Platform::linux())?;
//! assert!(matches!(plan.detection.idle, Bound::Within { most, .. } if most <= Duration::from_secs(15)));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod carried;
mod certainty;
mod concern;
mod detection;
mod evidence;
mod facts;
pub mod heartbeat;
mod instant;
mod judge;
#[cfg(test)]
mod judge_tests;
mod known;
mod options;
mod plan;
mod platform;
mod policy;
mod protection;
mod random;
mod reconnect;
mod retransmission;
pub mod roster;
pub mod session;
mod settings;
mod silence;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
mod stamp;
mod text;
mod verdict;

pub use certainty::{Loss, Proof};
pub use concern::{Concern, concerns, shortfalls};
pub use detection::{Bound, Detection, detection};
pub use evidence::{Evidence, Figure};
pub use facts::{AcceptQueue, Answer, AnswerTime, Asked, Facts, Hop, Others, Path, TcpState, Timer};
pub use heartbeat::{Beat, Heartbeat, Timing, TimingError};
pub use instant::Instant;
pub use judge::{Rules, judge};
pub use known::{Known, Why};
pub use options::SocketOption;
pub use plan::{Plan, Reason, Rounded, Unreachable, Warning, Wish};
pub use platform::{Connecting, KeepaliveDefaults, Platform, System, UnackedBound};
pub use policy::{Contradiction, Policy, PolicyBuilder};
pub use protection::{KeepaliveSeen, Protection};
pub use random::Random;
pub use reconnect::{Reconnect, Return, rounds};
pub use retransmission::Backoff;
pub use roster::{Roster, Slot};
pub use session::Offer;
pub use settings::{Keepalive, OutOfRange, Set, Settings};
pub use silence::{Silence, Tries};
pub use text::{BadUnit, BytesPerDay, Span};
pub use verdict::{Cause, Judgement, Verdict};
