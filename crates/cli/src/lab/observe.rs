//! Noticing: what each method does, again and again, until it notices or is told to stop.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use deadpeer::session::Session;
use deadpeer::{PeerLost, TcpState, diagnose, is_lost};
#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::cell::Outcome;

/// How often a wait looks up to see whether it was told to stop.
const SLICE: Duration = Duration::from_millis(50);

/// From when on, for how long at most, and unless what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch<'w> {
    pub(super) since: Instant,
    pub(super) limit: Duration,
    pub(super) cancel: &'w AtomicBool,
}

impl Watch<'_> {
    /// Calls `look`, which waits for a slice at most, until it tells how it noticed.
    fn until(self, mut look: impl FnMut() -> io::Result<Option<String>>) -> Outcome {
        loop {
            match look() {
                Ok(Some(how)) => return Outcome::Noticed { after: self.since.elapsed(), how },
                Err(error) => return Outcome::LeftOut { why: format!("the method failed: {error}") },
                Ok(None) => {}
            }
            let watched = self.since.elapsed();
            if self.cancel.load(Ordering::Relaxed) {
                return Outcome::LeftOut { why: format!("interrupted after {:.1} s", watched.as_secs_f64()) };
            }
            if watched >= self.limit {
                return Outcome::Not { watched };
            }
        }
    }

    /// A blocked recv(2). 0 is the end of file, EAGAIN (our slice) and EINTR are nothing. Windows has one number
    /// for our slice and for a peer that fell silent.
    pub(super) fn read(self, stream: &TcpStream) -> Outcome {
        if let Err(error) = stream.set_read_timeout(Some(SLICE)) {
            return Outcome::LeftOut { why: format!("setsockopt(SO_RCVTIMEO): {error}") };
        }
        let mut stream = stream;
        self.until(|| match stream.read(&mut [0; 1024]) {
            Ok(0) => Ok(Some("end of file".to_owned())),
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::TimedOut if cfg!(windows) && is_lost(stream)?.is_none() => Ok(None),
                _ => Ok(Some(name(&error))),
            },
        })
    }

    /// poll(2) for input.
    pub(super) fn poll(self, stream: &TcpStream) -> Outcome {
        self.until(|| {
            #[cfg(target_os = "linux")]
            return Ok(polled(stream, PollFlags::IN | PollFlags::RDHUP)?.map(flags));
            #[cfg(not(target_os = "linux"))]
            Ok(deadpeer_lab::readable_within(stream, SLICE)?.then(|| "readable".to_owned()))
        })
    }

    /// TCP_INFO's state.
    pub(super) fn state(self, stream: &TcpStream) -> Outcome {
        self.until(|| {
            let state = diagnose(stream)?.facts.state;
            if state == TcpState::Established {
                thread::sleep(SLICE);
                return Ok(None);
            }
            Ok(Some(format!("state {}", state.as_str())))
        })
    }

    /// The end of the connection as the kernel tells it to a program that never reads: an error, not a FIN.
    pub(super) fn error(self, stream: &TcpStream) -> Outcome {
        self.until(|| {
            #[cfg(target_os = "linux")]
            if polled(stream, PollFlags::empty())?.is_none() {
                return Ok(None);
            }
            let lost = is_lost(stream)?;
            let errno = lost.and_then(|lost| lost.errno).map(io::Error::from_raw_os_error);
            Ok(Some(errno.map_or_else(|| "hang-up".to_owned(), |error| name(&error))))
        })
    }

    /// A session's own heartbeat.
    pub(super) fn session(self, session: &Session) -> Outcome {
        self.until(|| {
            Ok(session.over_within(SLICE).map(|over| match over {
                None => "goodbye".to_owned(),
                Some(error) => match PeerLost::of(&error) {
                    Some(lost) => lost.cause.as_str().to_owned(),
                    None => name(&error),
                },
            }))
        })
    }
}

/// ETIMEDOUT, or what there is to say of it.
fn name(error: &io::Error) -> String {
    let name = match error.kind() {
        _ if error.raw_os_error().is_none() => return error.to_string(),
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::BrokenPipe => "EPIPE",
        _ => return error.to_string(),
    };
    format!("{}{name}", if cfg!(windows) { "WSA" } else { "" })
}

/// What poll(2) says within a slice.
#[cfg(target_os = "linux")]
fn polled(stream: &TcpStream, events: PollFlags) -> io::Result<Option<PollFlags>> {
    let mut fds = [PollFd::new(stream, events)];
    let slice = Timespec { tv_sec: 0, tv_nsec: SLICE.subsec_nanos().into() };
    match poll(&mut fds, Some(&slice)) {
        Ok(0) | Err(Errno::INTR) => Ok(None),
        Ok(_) => Ok(Some(fds[0].revents())),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(target_os = "linux")]
fn flags(flags: PollFlags) -> String {
    let names = [
        (PollFlags::IN, "IN"),
        (PollFlags::RDHUP, "RDHUP"),
        (PollFlags::ERR, "ERR"),
        (PollFlags::HUP, "HUP"),
    ];
    let set: Vec<_> = names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    set.join("|")
}
