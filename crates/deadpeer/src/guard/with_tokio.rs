//! Reading, writing and waiting as tokio does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use deadpeer_os::AsSock;
use deadpeer_os::current::stream::{self, Readiness};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::memory::Memory;
use super::{Guarded, Loss, PeerLost, Until, end};

/// Where the stream is borrowed mutably, no other call can be about to remember an error.
const ALONE: Duration = Duration::ZERO;

impl<S: AsyncRead + AsSock + Unpin> AsyncRead for Guarded<S> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        match ready!(Pin::new(guarded.get_mut()).poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().len() == before && room > 0 => {
                let sock = guarded.get_ref().as_sock();
                Poll::Ready(guarded.memory.at_end_of_file(sock, ALONE).map(drop))
            }
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(guarded.explain(error, ALONE))),
        }
    }
}

impl<S: AsyncWrite + AsSock + Unpin> AsyncWrite for Guarded<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let guarded = self.get_mut();
        let written = ready!(Pin::new(guarded.get_mut()).poll_write(cx, buffer));
        Poll::Ready(written.map_err(|error| guarded.explain(error, ALONE)))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guarded = self.get_mut();
        let written = ready!(Pin::new(guarded.get_mut()).poll_write_vectored(cx, buffers));
        Poll::Ready(written.map_err(|error| guarded.explain(error, ALONE)))
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        let flushed = ready!(Pin::new(guarded.get_mut()).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| guarded.explain(error, ALONE)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        let shut = ready!(Pin::new(guarded.get_mut()).poll_shutdown(cx));
        Poll::Ready(shut.map_err(|error| guarded.explain(error, ALONE)))
    }
}

impl Guarded<TcpStream> {
    /// Resolves as soon as the kernel knows that the peer is gone or has closed, without reading: data that
    /// comes does not wake it. Dropping the future loses nothing. Elsewhere than on Linux it needs tokio's
    /// timers, and while data waits to be read it asks ten times a second.
    ///
    /// A peer that has said all that it had to say, and waits for the answer, counts as closed. To give up work
    /// whose result nobody wants any more, wait for [`Guarded::over`]. Where this program has shut down its own
    /// receiving side, that is what this waits for, too: the kernel shows no FIN of the peer then.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::{Duration, Instant};
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
        self.ended(Until::Closed).await
    }

    /// Resolves as soon as the kernel knows that the connection is over: reset, timed out, or closed by both
    /// sides. Neither data nor the peer's FIN wakes it, so a client that closed its sending side after its request
    /// gets its answer. Else as [`Guarded::lost`].
    ///
    /// A client that has closed both directions looks the same until something is sent to it:
    /// [`over_within`](crate::over_within()) says more. After the peer's FIN this holds one more descriptor while it
    /// waits.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::{Duration, Instant};
    /// use deadpeer::{Policy, guard};
    /// use tokio::io::AsyncWriteExt;
    /// use tokio::net::{TcpListener, TcpStream};
    ///
    /// async fn work() -> &'static [u8] {
    ///     b"answer"
    /// }
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut client = TcpStream::connect(listener.local_addr()?).await?;
    /// let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    /// let mut server = guard(listener.accept().await?.0, &policy)?;
    /// client.shutdown().await?; // it has asked, and waits for the answer
    /// tokio::select! {
    ///     answer = work() => server.write_all(answer).await?,
    ///     lost = server.over() => println!("nobody wants the answer any more: {}", lost?),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Guarded::lost`].
    pub async fn over(&self) -> io::Result<PeerLost> {
        self.ended(Until::Over).await
    }

    async fn ended(&self, until: Until) -> io::Result<PeerLost> {
        if let Some(lost) = self.memory.lost() {
            return Ok(lost);
        }
        let stream = self.get_ref();
        let judge = |readiness| self.memory.end(stream.as_sock(), readiness, until, ALONE);
        let lost = wait(stream, judge).await?;
        if lost.cause == Loss::Ended && lost.errno.is_none() {
            // A task on another thread that took the error may be about to remember it; others may run meanwhile.
            let since = Instant::now();
            while since.elapsed() < Memory::GRACE {
                if let Some(lost) = self.memory.lost() {
                    return Ok(lost);
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(lost)
    }
}

/// Resolves as soon as the kernel knows that the peer of a tokio stream is gone or has closed, without
/// reading: for code that keeps its own stream type. What it waits for is said at [`Guarded::lost`].
///
/// **A pending error is taken** from the socket, as [`is_lost`](crate::is_lost) does: the next read says "end
/// of file" instead.
///
/// # Errors
/// Of poll(2) and getsockopt(2), and when the runtime shuts down.
pub async fn lost(stream: &TcpStream) -> io::Result<PeerLost> {
    wait(stream, |readiness| end(stream.as_sock(), readiness, Until::Closed)).await
}

/// Resolves as soon as the kernel knows that the connection of a tokio stream is over: reset, timed out, or closed
/// by both sides. What it waits for is said at [`Guarded::over`]. Else as [`lost`].
///
/// # Errors
/// As [`lost`].
pub async fn over(stream: &TcpStream) -> io::Result<PeerLost> {
    wait(stream, |readiness| end(stream.as_sock(), readiness, Until::Over)).await
}

/// Waits until `judge` finds an end in what poll(2) says.
///
/// tokio has no interest in "read closed" alone. The readiness that PRIORITY waits for holds READ_CLOSED but
/// not READABLE, so this wakes on FIN, RST and a kernel's timeout, and not on data.
#[cfg(target_os = "linux")]
async fn wait(
    stream: &TcpStream,
    mut judge: impl FnMut(Readiness) -> io::Result<Option<PeerLost>>,
) -> io::Result<PeerLost> {
    loop {
        let ready = stream.ready(Interest::PRIORITY | Interest::ERROR).await?;
        // Urgent data and the error queue wake it, too. What is judged to be no end is taken as seen, but nothing
        // that comes meanwhile.
        let mut found =
            || judge(stream::readiness(stream.as_sock())?)?.ok_or(io::ErrorKind::WouldBlock.into());
        // One by one: `try_io` calls nothing for two interests in one.
        for sign in [Interest::PRIORITY, Interest::ERROR] {
            match stream.try_io(sign, &mut found) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                found => return found,
            }
        }
        if ready.is_read_closed() {
            return hung_up(stream, judge).await;
        }
    }
}

/// After READ_CLOSED, which tokio never takes as seen. A registration of its own that asks for neither EPOLLIN
/// nor EPOLLRDHUP gets EPOLLHUP and EPOLLERR all the same. The duplicate is closed before the stream can be, since
/// this borrows that.
#[cfg(target_os = "linux")]
async fn hung_up(
    stream: &TcpStream,
    mut judge: impl FnMut(Readiness) -> io::Result<Option<PeerLost>>,
) -> io::Result<PeerLost> {
    use tokio::io::unix::AsyncFd;
    let duplicate = stream.as_sock().try_clone_to_owned()?;
    #[allow(deprecated, reason = "it is unsound for types that change their descriptor; OwnedFd does not")]
    let own = AsyncFd::with_interest(duplicate, Interest::PRIORITY)?;
    loop {
        let mut ready = own.ready(Interest::PRIORITY | Interest::ERROR).await?;
        if let Some(lost) = judge(stream::readiness(stream.as_sock())?)? {
            return Ok(lost);
        }
        ready.clear_ready();
    }
}

/// PRIORITY is Linux' alone, and READABLE wakes on data, too. What waits to be read can't be taken as seen
/// without hiding it from who reads, so while it waits, the end is asked for from time to time.
#[cfg(not(target_os = "linux"))]
async fn wait(
    stream: &TcpStream,
    mut judge: impl FnMut(Readiness) -> io::Result<Option<PeerLost>>,
) -> io::Result<PeerLost> {
    const AGAIN: Duration = Duration::from_millis(100);
    loop {
        stream.ready(Interest::READABLE | Interest::ERROR).await?;
        if let Some(lost) = judge(stream::readiness(stream.as_sock())?)? {
            return Ok(lost);
        }
        tokio::time::sleep(AGAIN).await;
    }
}
