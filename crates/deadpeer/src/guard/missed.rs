//! Heartbeats that stopped, and what the kernel knows of their sender.

use std::time::Duration;

use deadpeer_os::AsSock;
use deadpeer_os::current::stream;

use super::loss::{Loss, Mechanism, PeerLost};

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
}
