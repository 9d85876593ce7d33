//! The TCP connections of this host, whoever owns them: listed, judged, asked.
//!
//! ```
//! use deadpeer::host::{Filter, Scan};
//! use deadpeer::Verdict;
//!
//! let report = Scan::new().filter(Filter::parse(["state:established"])?).run()?;
//! for finding in report.findings().iter().filter(|finding| finding.verdict == Verdict::Dead) {
//!     println!("{} is gone", finding.connection.row.peer);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Seeing the list takes no privileges. Seeing other users' owners and settings takes ptrace(2) access to
//! their processes; asking takes CAP_NET_ADMIN besides. What is not known says why.

mod ask;
mod census;
mod connection;
mod filter;
mod listeners;
mod locks;
mod namespace;
mod namespaces;
mod owners;
mod pace;
mod path;
mod ping;
mod protection;
mod scan;
mod shares;
mod unowned;

pub use ask::Progress;
pub use census::{Census, CensusError, SockDiag, Taken, Want};
pub use connection::{Connection, Finding, Owner, Process};
pub use deadpeer_os::linux::diag::{Cookie, Routing, Row, States};
pub use filter::{Filter, FilterError};
pub use namespace::Namespace;
pub use namespaces::Unseen;
pub use pace::{Pace, PaceError};
pub(crate) use path::path_of;
pub use ping::{Ping, PingError};
pub use scan::{Report, Scan, ScanError};
