//! A client that comes back, on tokio.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use deadpeer_core::Policy;
use deadpeer_os::AsSock;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::connector::connector;
use super::tokio::{Session, Shared, connect_over};
use super::{Config, Transition};
use crate::guard::guard_if_possible;

type Opening = Pin<Box<dyn Future<Output = io::Result<Session>> + Send>>;
/// Opens a session over a TCP connection to a place.
type Open = Box<dyn FnMut(TcpStream, String, Policy, Config) -> Opening + Send>;

connector! {
    /// As the blocking [`Connector`](super::Connector), on tokio: the drivers of its sessions are spawned.
    Arc<Shared>, Open
}

impl Connector {
    fn plain() -> Open {
        Box::new(|stream, _, policy, config| {
            Box::pin(async move {
                let stream = guard_if_possible(stream, &policy)?;
                let (session, driver) = connect_over(stream, |stream| stream.as_sock(), &config).await?;
                tokio::spawn(driver.run());
                Ok(session)
            })
        })
    }

    /// Opens each session by `open`, which gets the TCP connection, the place as it was given ("host:port"), and the config,
    /// and spawns the driver: for TLS, or another layer.
    ///
    /// ```no_run
    /// # use deadpeer::AsSock;
    /// # async fn handshake(tcp: tokio::net::TcpStream, _: String) -> std::io::Result<tokio::net::TcpStream> { Ok(tcp) }
    /// # let policy = deadpeer::Policy::detect(std::time::Duration::from_secs(9)).build()?;
    /// use deadpeer::session::tokio::{Connector, connect_over};
    ///
    /// let connector = Connector::new(["db.example:7433"], &policy)?
    ///     .secured(|tcp, place, config| async move {
    ///         let tls = handshake(tcp, place).await?; // such as tokio_rustls
    ///         let (session, driver) = connect_over(tls, |tls| tls.as_sock(), &config).await?;
    ///         tokio::spawn(driver.run());
    ///         Ok(session)
    ///     });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn secured<F>(mut self, mut open: impl FnMut(TcpStream, String, Config) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<Session>> + Send + 'static,
    {
        self.open = Box::new(move |stream, place, _, config| Box::pin(open(stream, place, config)));
        self
    }

    /// The next session; waits and tries until there is one. The one before, if any, is taken as lost.
    /// Dropping the future gives the try up, which counts as a failed one: the next call waits as after any other.
    ///
    /// # Errors
    /// That of the last try when the limit of tries is reached.
    pub async fn connect(&mut self) -> io::Result<Session> {
        if let Some(last) = self.last.take() {
            let (error, goodbye) = last.told();
            self.attempts.lost(error, goodbye)?;
        }
        self.attempts.abandoned()?;
        loop {
            if let Some(wait) = self.attempts.pause() {
                sleep(wait).await;
            }
            let mut failure = None;
            for (number, place) in self.attempts.begin() {
                let addresses: Vec<_> = match lookup_host(&place).await {
                    Ok(addresses) => addresses.collect(),
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                };
                for address in self.attempts.order(number, addresses.into_iter()) {
                    self.attempts.tell(&Transition::Connecting(address));
                    match self.open(address, &place).await {
                        Ok(session) => {
                            self.attempts.up(number, address);
                            self.last = Some(session.watch());
                            return Ok(session);
                        }
                        Err(error) => {
                            self.attempts.address_failed(address, &error);
                            failure = Some(error);
                        }
                    }
                }
            }
            self.attempts.failed(failure)?;
        }
    }

    // Borrowed alone, so that the future may move between threads: who is told of transitions need not be shared.
    async fn open(&mut self, address: SocketAddr, place: &str) -> io::Result<Session> {
        let patience = self.attempts.patience();
        // A TLS handshake counts, too.
        timeout(patience, async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let config = self.attempts.next_config()?;
            (self.open)(stream, place.to_owned(), self.attempts.policy.clone(), config).await
        })
        .await?
    }
}

/// Compiled only while the future may move between threads, as `tokio::spawn` asks.
fn _connecting_may_move_between_threads(mut connector: Connector) -> impl Send {
    Box::pin(async move { connector.connect().await })
}
