//! Reading and writing through a shared reference, as tokio does.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use deadpeer_os::AsSock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Guarded;

/// Another thread of the runtime that took an error is about to remember it. An executor's thread does not wait for
/// long; where this is over too soon, the cause is told as not known.
const MOMENT: Duration = Duration::from_millis(20);

/// For tasks that share a stream: one reads, one writes, others wait for [`Guarded::lost`] or [`Guarded::over`]. As
/// with tokio's own `poll_read_ready`, of several tasks that read only the last is woken; so it is with those that
/// write.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use deadpeer::{Loss, Policy, guard};
/// use tokio::io::AsyncReadExt;
/// use tokio::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let client = TcpStream::connect(listener.local_addr()?).await?;
/// let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
/// let client = Arc::new(guard(client, &policy)?);
/// let reader = Arc::clone(&client);
/// let reading = tokio::spawn(async move { (&*reader).read(&mut [0; 64]).await });
/// drop(listener.accept().await?);
/// assert_eq!(client.lost().await?.cause, Loss::Closed);
/// assert_eq!(reading.await??, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
impl AsyncRead for &Guarded<TcpStream> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guarded: &Guarded<TcpStream> = self.get_mut();
        let room = buffer.remaining();
        let read = ready!(try_when_ready(
            || guarded.get_ref().poll_read_ready(cx),
            || guarded.get_ref().try_read_buf(buffer)
        ));
        Poll::Ready(match read {
            Ok(0) if room > 0 => guarded.memory.at_end_of_file(guarded.get_ref().as_sock(), MOMENT).map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(guarded.explain(error, MOMENT)),
        })
    }
}

/// As for reading.
impl AsyncWrite for &Guarded<TcpStream> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guarded: &Guarded<TcpStream> = self.get_mut();
        let written = ready!(try_when_ready(
            || guarded.get_ref().poll_write_ready(cx),
            || guarded.get_ref().try_write_vectored(buffers)
        ));
        Poll::Ready(written.map_err(|error| guarded.explain(error, MOMENT)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio's own takes the stream mutably.
        let duplicate = self.get_ref().as_sock().try_clone_to_owned();
        Poll::Ready(duplicate.and_then(|socket| std::net::TcpStream::from(socket).shutdown(Shutdown::Write)))
    }
}

/// Tries until it is done or the stream is not ready.
#[inline]
fn try_when_ready<T>(
    mut ready: impl FnMut() -> Poll<io::Result<()>>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        if let Err(error) = ready!(ready()) {
            return Poll::Ready(Err(error));
        }
        match attempt() {
            // The readiness was old, and is forgotten now.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}
