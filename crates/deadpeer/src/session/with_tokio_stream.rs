//! A session as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tokio::Session;

/// A session read and written as a stream of bytes; the borders of messages dissolve.
///
/// The end of the peer's messages is the end of file. `shutdown` ends one's own messages, and dropping it
/// says goodbye. It is made by [`Session::into_stream`].
#[derive(Debug)]
pub struct SessionStream {
    session: Session,
    /// What was received and not yet read, and where it begins.
    message: Vec<u8>,
    start: usize,
}

impl SessionStream {
    pub(super) const fn new(session: Session) -> Self {
        Self { session, message: Vec::new(), start: 0 }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

impl AsyncRead for SessionStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // An empty message is none here: it would look like the end.
        while self.start == self.message.len() {
            match ready!(self.session.poll_recv(cx))? {
                Some(message) => (self.message, self.start) = (message, 0),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = buffer.remaining().min(self.message.len() - self.start);
        buffer.put_slice(&self.message[self.start..self.start + length]);
        self.start += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sender = self.session.sender();
        let length = bytes.len().min(sender.max_message());
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        ready!(sender.poll_room(cx))?;
        sender.queue(&bytes[..length])?;
        Poll::Ready(Ok(length))
    }

    /// Waits until the stream below has taken everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::<&[u8]>::poll_flush(Pin::new(self.session.sender_mut()), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::<&[u8]>::poll_close(Pin::new(self.session.sender_mut()), cx)
    }
}
