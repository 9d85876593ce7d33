//! Silence that somebody else than the kernel judges: heartbeats that stopped, answers that do not come.

use deadpeer_core::Silence;
use deadpeer_os::AsSock;
use deadpeer_os::current::{settings, stream};
use std::time::Duration;

use super::loss::{Loss, Mechanism, PeerLost};
use crate::diagnose::facts;

impl PeerLost {
    /// For heartbeats of one's own over `socket`: nothing was heard for `silent`. Tells a program that hangs from
    /// a host that is gone, as far as the kernel can: a host that acknowledged everything, and was heard after
    /// its program, is there ([`Loss::Hung`]). That is known on Linux only: elsewhere no kernel tells when it was
    /// heard.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    /// use deadpeer::{Loss, PeerLost};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// // Its kernel was heard a moment ago, when it answered the connection.
    /// let lost = PeerLost::missed(&client, Duration::from_secs(10));
    /// # #[cfg(target_os = "linux")]
    /// assert_eq!(lost.cause, Loss::Hung);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn missed(socket: &impl AsSock, silent: Duration) -> Self {
        /// An acknowledgement may come so much later than the heartbeat that it follows (delayed ACK, a lost
        /// segment), and proves nothing more.
        const LATER: Duration = Duration::from_secs(1);
        let mut lost = Self::new(Loss::HeartbeatMissed, Mechanism::Heartbeat);
        lost.silent = Some(silent);
        if let Ok(seen) = stream::look(socket.as_sock()) {
            lost.unacknowledged = seen.unacknowledged.map(u64::from);
            let heard = seen.facts.last_heard.value();
            if seen.unacknowledged == Some(0) && heard.is_some_and(|heard| heard + LATER < silent) {
                lost.cause = Loss::Hung;
            }
        }
        lost
    }

    /// What was sent to the peer, and its kernel has not answered for `patience`: retransmissions, or probes of a
    /// shut window. Or what our own kernel could not send for so long ([`Loss::Unreachable`]). `None` while it answers or has nothing to answer; where this can't be known (other systems than
    /// Linux); and for a socket that is none.
    ///
    /// For connections whose peer may read nothing for long and must live, which no user timeout spares
    /// (`tcp(7)`, TCP_USER_TIMEOUT): look now and then, more often than `patience`. An outage can look up to
    /// twice as long as it is: what is sent in it is sent again after pauses that double.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    /// use deadpeer::PeerLost;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// // Nothing was sent, so nothing is unanswered.
    /// assert_eq!(PeerLost::unanswered(&client, Duration::from_secs(5)), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unanswered(socket: &impl AsSock, patience: Duration) -> Option<Self> {
        let sock = socket.as_sock();
        let seen = stream::look(sock).ok()?;
        // Cheaper than asking for the timer, and true of nearly all.
        if seen.unacknowledged == Some(0) || (seen.facts.retransmits == 0 && seen.facts.probes_out == 0) {
            return None;
        }
        let facts = facts(sock, &settings::read(sock).ok()?).ok()?;
        let long = |silence: &Silence| silence.over >= patience;
        let (silence, mut lost) = match facts.futile_tries().filter(long) {
            Some(futile) => (futile, Self::new(Loss::Unreachable, Mechanism::Local)),
            None => {
                let lost = Self::new(Loss::SilentInFlight, Mechanism::Retransmissions);
                (facts.silence().filter(long)?, lost)
            }
        };
        lost.silent = Some(facts.last_heard.value().unwrap_or(silence.over));
        lost.unacknowledged = seen.unacknowledged.map(u64::from);
        Some(lost)
    }
}
