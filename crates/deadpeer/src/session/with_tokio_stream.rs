//! A session as a byte stream.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::SendError;

use super::tokio::{Order, Session};

/// A session read and written as a stream of bytes; the borders of messages dissolve.
///
/// The end of the peer's messages is the end of file. `shutdown` ends one's own messages, and dropping it
/// says goodbye. It is made by [`Session::into_stream`].
pub struct SessionStream {
    session: Session,
    /// What was received and not yet read, and where it begins.
    message: Vec<u8>,
    start: usize,
    /// A place in the driver's queue, being waited for.
    place: Option<Pin<Box<Place>>>,
    ended: bool,
}

type Place = dyn Future<Output = Result<OwnedPermit<Order>, SendError<()>>> + Send;

impl SessionStream {
    pub(super) fn new(session: Session) -> Self {
        Self { session, message: Vec::new(), start: 0, place: None, ended: false }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedPermit<Order>>> {
        let orders = self.session.orders();
        let place = self.place.get_or_insert_with(|| Box::pin(orders.clone().reserve_owned()));
        let reserved = ready!(place.as_mut().poll(cx));
        self.place = None;
        Poll::Ready(reserved.map_err(|_| self.session.failure()))
    }
}

impl fmt::Debug for SessionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStream").field("session", &self.session).finish_non_exhaustive()
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
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.session.limit());
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let place = ready!(self.poll_place(cx))?;
        place.send(Order::Send(bytes[..length].to_vec()));
        Poll::Ready(Ok(length))
    }

    /// The driver writes by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            let place = ready!(self.poll_place(cx))?;
            place.send(Order::End);
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}
