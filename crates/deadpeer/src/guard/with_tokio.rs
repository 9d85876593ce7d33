//! Reading, writing and waiting as tokio does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use deadpeer_os::AsSock;
use deadpeer_os::current::stream;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::{Guarded, PeerLost, end};

impl<S: AsyncRead + AsSock + Unpin> AsyncRead for Guarded<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        match ready!(Pin::new(&mut self.inner).poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().len() == before && room > 0 => {
                Poll::Ready(self.at_end_of_file().map(drop))
            }
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(self.explain(error))),
        }
    }
}

impl<S: AsyncWrite + AsSock + Unpin> AsyncWrite for Guarded<S> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buffer));
        Poll::Ready(written.map_err(|error| self.explain(error)))
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, buffers));
        Poll::Ready(written.map_err(|error| self.explain(error)))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.explain(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        Poll::Ready(shut.map_err(|error| self.explain(error)))
    }
}

impl Guarded<TcpStream> {
    /// Resolves as soon as the kernel knows that the peer is gone or has closed, without reading: data that
    /// comes does not wake it. Dropping the future loses nothing. Elsewhere than on Linux it needs tokio's
    /// timers, and while data waits to be read it asks ten times a second.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use deadpeer::{Loss, Policy, guard};
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let client = TcpStream::connect(listener.local_addr()?).await?;
    /// let (server, _) = listener.accept().await?;
    /// let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    /// let client = guard(client, &policy)?;
    /// drop(server);
    /// assert_eq!(client.lost().await?.cause, Loss::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Of poll(2), and when the runtime shuts down.
    pub async fn lost(&self) -> io::Result<PeerLost> {
        loop {
            if let Some(lost) = self.lost.get() {
                return Ok(lost.clone());
            }
            ended(&self.inner).await?;
            let readiness = stream::readiness(self.inner.as_sock())?;
            if let Some(lost) = self.end(readiness) {
                return Ok(lost);
            }
        }
    }
}

/// Resolves as soon as the kernel knows that the peer of a tokio stream is gone or has closed, without
/// reading: for code that keeps its own stream type.
///
/// **A pending error is taken** from the socket, as [`is_lost`](crate::is_lost) does: the next read says "end
/// of file" instead.
///
/// # Errors
/// Of poll(2) and getsockopt(2), and when the runtime shuts down.
pub async fn lost(stream: &TcpStream) -> io::Result<PeerLost> {
    loop {
        ended(stream).await?;
        let readiness = stream::readiness(stream.as_sock())?;
        if let Some(lost) = end(stream.as_sock(), readiness)? {
            return Ok(lost);
        }
    }
}

/// tokio has no interest in "read closed" alone. The readiness that PRIORITY waits for holds READ_CLOSED but
/// not READABLE, so this wakes on FIN, RST and a kernel's timeout, and not on data.
#[cfg(target_os = "linux")]
async fn ended(stream: &TcpStream) -> io::Result<()> {
    let ready = stream.ready(Interest::PRIORITY | Interest::ERROR).await?;
    let urgent_only = !(ready.is_read_closed() || ready.is_error() || ready.is_write_closed());
    if urgent_only {
        // Urgent data (MSG_OOB) wakes it, too: taken as seen, and the wait goes on.
        let _ = stream.try_io(Interest::PRIORITY, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
    Ok(())
}

/// PRIORITY is Linux' alone, and READABLE wakes on data, too. What waits to be read can't be taken as seen
/// without hiding it from who reads, so while it waits, the end is asked for from time to time.
#[cfg(not(target_os = "linux"))]
async fn ended(stream: &TcpStream) -> io::Result<()> {
    const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
    let ready = stream.ready(Interest::READABLE | Interest::ERROR).await?;
    if !(ready.is_read_closed() || ready.is_error()) {
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}
