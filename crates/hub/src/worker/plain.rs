//! The plain side of a carried connection.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpeer::PeerLost;
use deadpeer_core::session::{DATA_HEAD, MOST_DATA, data_head};
use mio::net::TcpStream;

use super::entry::{Joint, write_some};
use super::queue::Queue;
use super::visit::{Outcome, Over, Visit, reset_on_close};
use super::{SHORT_IS_ALL, Side};
use crate::event::Ending;

/// A DATA frame of the greatest length.
const FRAME: usize = DATA_HEAD + MOST_DATA;
/// One read of the plain side fills at most so many frames.
const FRAMES: usize = 4;
/// What a read needs.
pub(super) const SCRATCH: usize = FRAME * FRAMES;
/// Pieces of data are written one by one in one call; more of them are copied together before.
const PIECES: usize = 16;

impl Joint {
    /// Ends the plain connection so that nobody takes that for the end of the data: by a reset.
    pub(super) fn abort(&mut self) {
        if let Some(plain) = self.plain.take() {
            reset_on_close(&plain);
        }
        self.dial = None;
        self.to_plain = Queue::default();
    }
}

impl Visit<'_> {
    /// The session is up: now there is somebody to carry data for.
    pub(super) fn came_up(&mut self) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        if joint.plain.is_some() {
            joint.plain_waits = false;
            self.context.again.push((self.index, Side::Plain));
            return Ok(());
        }
        self.dial_plain()
    }

    /// Begins to connect to the present address of the target, or the next one that works.
    fn dial_plain(&mut self) -> Outcome {
        let (now, shared) = (self.context.now, Arc::clone(&self.context.shared));
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        let Some(dial) = &mut joint.dial else { return Ok(()) };
        loop {
            let error = match dial.begin(shared.config.settings.as_ref(), now) {
                Err(error) => return self.plain_lost(error),
                Ok(mut socket) => {
                    match Self::watch(&self.context.registry, &mut socket, self.index, Side::Plain) {
                        Ok(()) => {
                            joint.plain = Some(socket);
                            return Ok(());
                        }
                        Err(error) => error,
                    }
                }
            };
            dial.fail(&error.to_string());
        }
    }

    /// At each tick: an address of the target that stays silent is given up, and the next one is tried.
    pub(super) fn look_for_target(&mut self) -> Outcome {
        let now = self.context.now;
        match self.entry.joint().and_then(|joint| joint.dial.as_mut()) {
            Some(dial) if dial.is_to_move_on(now) => {
                dial.fail("no answer in time");
                self.dial_plain()
            }
            _ => Ok(()),
        }
    }

    /// The plain socket takes more, or its connection was made, or could not be.
    pub(super) fn plain_writable(&mut self) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        if let (Some(dial), Some(plain)) = (&mut joint.dial, &joint.plain) {
            match dial.is_made(plain) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    joint.dial = None;
                    let todo = joint.carried.handle_dialed();
                    self.perform(todo, None)?;
                    self.context.again.push((self.index, Side::Plain));
                }
                Err(error) => {
                    dial.fail(&error.to_string());
                    joint.plain = None;
                    return self.dial_plain();
                }
            }
        }
        self.flush_plain()
    }

    /// Writes what waits for the plain side.
    fn flush_plain(&mut self) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        let (Some(plain), true) = (&joint.plain, joint.carried.may_write_plain()) else { return Ok(()) };
        if joint.to_plain.is_empty() {
            return Ok(());
        }
        match write_some(plain, joint.to_plain.waiting()) {
            Ok(written) => {
                joint.to_plain.wrote(written);
                self.plain_took(written)
            }
            Err(error) => self.plain_failed(error),
        }
    }

    /// Hands on the data that a read of the session brought: the pieces of `bytes` that are listed in the context.
    pub(super) fn deliver(&mut self, bytes: &[u8]) -> Outcome {
        if self.context.pieces.is_empty() {
            return Ok(());
        }
        let mut pieces = std::mem::take(&mut self.context.pieces);
        let delivered = self.deliver_pieces(bytes, &pieces);
        pieces.clear();
        self.context.pieces = pieces;
        delivered
    }

    fn deliver_pieces(&mut self, bytes: &[u8], pieces: &[std::ops::Range<usize>]) -> Outcome {
        let account = Arc::clone(&self.context.shared.account);
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        let total: usize = pieces.iter().map(ExactSizeIterator::len).sum();
        if joint.carried.is_over() {
            return Ok(());
        }
        joint.carried.handle_data(total as u32);
        self.context.shared.to_plain.fetch_add(total as u64, Relaxed);
        let mut written = 0;
        if let (Some(plain), true, true) =
            (&joint.plain, joint.carried.may_write_plain(), joint.to_plain.is_empty())
        {
            match write_pieces(plain, bytes, pieces, total, &mut self.context.out) {
                Ok(count) => written = count,
                Err(error) => return self.plain_failed(error),
            }
        }
        let mut skip = written;
        for piece in pieces {
            let from = piece.start + skip.min(piece.len());
            skip -= from - piece.start;
            joint.to_plain.push(&bytes[from..piece.end], &account);
        }
        self.plain_took(written)
    }

    /// The plain side took bytes: the peer may send more.
    fn plain_took(&mut self, written: usize) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        joint.flow.taken(written as u32);
        let todo = joint.carried.handle_taken(written as u32);
        if let Some(credit) = joint.flow.grant() {
            if joint.carried.queued() == 0 {
                // The program keeps up: it may have more under way.
                let more = joint.granted.widen();
                joint.flow.widen(more);
            }
            self.say(true, |live, _, out| live.grant(credit, out));
        }
        self.perform(todo, None)
    }

    /// One read. Says whether there may be more.
    pub(super) fn read_plain(&mut self, to_the_end: bool, scratch: &mut [u8]) -> Outcome<bool> {
        let takes_none = !self.is_up() || self.entry.is_blocked() || self.context.shared.is_over_budget();
        let most = self.context.shared.config.limits.chunk();
        let Some(joint) = self.entry.joint() else { return Ok(false) };
        if !joint.carried.may_read_plain() {
            return Ok(false);
        }
        if takes_none || joint.flow.may_send() == 0 {
            joint.plain_waits = true;
            return Ok(false);
        }
        let Some(plain) = &mut joint.plain else { return Ok(false) };
        let (read, room) = match read_frames(plain, scratch, joint.flow.credit() as usize, most) {
            Ok((0, _)) => {
                let todo = joint.carried.handle_plain_end();
                self.perform(todo, None)?;
                return Ok(false);
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return self.plain_failed(error).map(|()| false),
        };
        let mut at = 0;
        for start in (0..read).step_by(MOST_DATA) {
            let length = (read - start).min(MOST_DATA);
            scratch[at..at + DATA_HEAD].copy_from_slice(&data_head(length as u16, false));
            joint.flow.sent(length as u32);
            at += DATA_HEAD + length;
        }
        self.context.shared.from_plain.fetch_add(read as u64, Relaxed);
        let now = self.context.now;
        if let Some(mut live) = self.live() {
            live.sending(read as u32, now);
        }
        self.write(&scratch[..at], false);
        Ok(read == room || to_the_end || !SHORT_IS_ALL)
    }

    /// The session takes more: the plain side is read again if it waits for that.
    pub(super) fn resume_plain(&mut self) {
        let blocked = self.entry.is_blocked() || self.context.shared.is_over_budget();
        if let Some(joint) = self.entry.joint()
            && !blocked
            && joint.flow.may_send() > 0
            && std::mem::take(&mut joint.plain_waits)
        {
            self.context.again.push((self.index, Side::Plain));
        }
    }

    /// No heartbeat tells whether the plain side is there, so the kernel is asked whether what was sent is answered. (A user
    /// timeout would do that, too, and would end programs that only take nothing.)
    pub(super) fn look_at_plain(&mut self, patience: Duration) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        match joint.plain.as_ref().and_then(|plain| PeerLost::unanswered(plain, patience)) {
            Some(lost) => self.plain_lost(format!("the plain side: {lost}")),
            None => Ok(()),
        }
    }

    pub(super) fn shut_plain(&mut self) -> Outcome {
        let Some(plain) = self.entry.joint().and_then(|joint| joint.plain.as_ref()) else { return Ok(()) };
        match plain.shutdown(Shutdown::Write) {
            // Its other direction has ended, too.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => self.plain_failed(error),
            Ok(()) => Ok(()),
        }
    }

    fn plain_failed(&mut self, error: io::Error) -> Outcome {
        let error = match self.entry.joint().and_then(|joint| joint.plain.as_ref()) {
            Some(plain) => PeerLost::explain(plain, error),
            None => error,
        };
        self.plain_lost(format!("the plain side: {error}"))
    }

    /// The plain connection is lost, or could not be made: the other end of the session is told.
    pub(super) fn plain_lost(&mut self, what: String) -> Outcome {
        if self.is_greeting() {
            return Err(Over::ended(Ending::PlainLost(what), None));
        }
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        let todo = joint.carried.handle_plain_lost();
        self.perform(todo, Some(Ending::PlainLost(what)))
    }

    /// A socket of the plain side reported an error or the end of both directions, and there is nothing to read.
    pub(super) fn look_for_plain_error(&mut self) -> Outcome {
        let Some(joint) = self.entry.joint() else { return Ok(()) };
        if joint.dial.is_some() {
            return Ok(());
        }
        match joint.plain.as_ref().map(TcpStream::take_error) {
            Some(Ok(Some(error)) | Err(error)) => self.plain_failed(error),
            _ => Ok(()),
        }
    }
}

/// Reads into the contents of frames, with gaps for their heads. Says how much was read, and how much could have been.
fn read_frames(
    plain: &mut TcpStream,
    scratch: &mut [u8],
    credit: usize,
    most: usize,
) -> io::Result<(usize, usize)> {
    let mut left = credit;
    let mut room = 0;
    let mut frames = scratch.chunks_exact_mut(FRAME).map(|frame| {
        let length = left.saturating_sub(DATA_HEAD).min(MOST_DATA).min(most - room);
        left = left.saturating_sub(DATA_HEAD + length);
        room += length;
        IoSliceMut::new(&mut frame[DATA_HEAD..DATA_HEAD + length])
    });
    let mut contents: [IoSliceMut<'_>; FRAMES] =
        std::array::from_fn(|_| frames.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
    drop(frames);
    let used = contents.iter().take_while(|content| !content.is_empty()).count();
    Ok((plain.read_vectored(&mut contents[..used])?, room))
}

/// Writes the pieces in as few calls as they need, until the socket takes no more. Says how much it took.
fn write_pieces(
    mut plain: &TcpStream,
    bytes: &[u8],
    pieces: &[std::ops::Range<usize>],
    total: usize,
    copied: &mut Vec<u8>,
) -> io::Result<usize> {
    if pieces.len() > PIECES {
        // Thousands of small frames: copying them is cheaper than thousands of entries for the kernel.
        copied.clear();
        copied.reserve(total);
        for piece in pieces {
            copied.extend_from_slice(&bytes[piece.clone()]);
        }
        return write_some(plain, copied);
    }
    let mut slices: [IoSlice<'_>; PIECES] =
        std::array::from_fn(|at| IoSlice::new(pieces.get(at).map_or(&[][..], |piece| &bytes[piece.clone()])));
    let mut slices = &mut slices[..pieces.len()];
    let mut written = 0;
    while written < total {
        match plain.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => {
                written += length;
                IoSlice::advance_slices(&mut slices, length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
