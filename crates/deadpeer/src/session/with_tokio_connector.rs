//! A client that comes back, on tokio.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::Transition;
use super::connector::connector;
use super::tokio::{Session, Shared, open};
use crate::guard::guard_if_possible;

connector! {
    /// As the blocking [`Connector`](super::Connector), on tokio: the drivers of its sessions are spawned.
    Arc<Shared>
}

impl Connector {
    /// The next session; waits and tries until there is one. The one before, if any, is taken as lost.
    /// Dropping the future gives the try up, and nothing else.
    ///
    /// # Errors
    /// That of the last try when the limit of tries is reached.
    pub async fn connect(&mut self) -> io::Result<Session> {
        if let Some(last) = self.last.take() {
            let (error, goodbye) = last.told();
            self.attempts.lost(error, goodbye)?;
        }
        loop {
            if let Some(wait) = self.attempts.pause() {
                sleep(wait).await;
            }
            let mut failure = None;
            for place in self.attempts.round() {
                let addresses: Vec<_> = match lookup_host(&place).await {
                    Ok(addresses) => addresses.collect(),
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                for address in addresses {
                    self.attempts.tell(&Transition::Connecting(address));
                    match self.open(address).await {
                        Ok(session) => {
                            self.attempts.up(address);
                            self.last = Some(session.shared());
                            return Ok(session);
                        }
                        Err(error) => {
                            self.attempts.tell(&Transition::Failed(address, &error));
                            failure = Some(error);
                        }
                    }
                }
            }
            self.attempts.failed(failure)?;
        }
    }

    // Borrowed alone, so that the future may move between threads: who is told of transitions need not be shared.
    async fn open(&mut self, address: SocketAddr) -> io::Result<Session> {
        let patience = self.attempts.policy.detection_time();
        let stream = timeout(patience, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let stream = guard_if_possible(stream, &self.attempts.policy)?;
        let (session, driver) = open(stream, self.attempts.config, &self.attempts.id).await?;
        tokio::spawn(driver.run());
        Ok(session)
    }
}

/// It can be spawned.
#[allow(clippy::manual_async_fn, reason = "the bounds are what is checked")]
fn _connecting_is_a_plain_future(
    mut connector: Connector,
) -> impl Future<Output = io::Result<Session>> + Send + 'static {
    async move { connector.connect().await }
}
