//! A value, or the reason why there is none.

use core::fmt;

/// A value that is known, or why it is not. An `Option` would forget the reason.
///
/// ```
/// use deadpeer_core::{Known, Why};
///
/// let idle: Known<u32> = Known::Not(Why::NoPermission);
/// assert_eq!(idle.value(), None);
/// assert_eq!(idle.why().unwrap().to_string(), "no permission to look into the owner's descriptors");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// The value.
    Is(T),
    /// Why there is none.
    Not(Why),
}

impl<T> Known<T> {
    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Not(_) => None,
        }
    }

    /// Why there is no value.
    pub const fn why(&self) -> Option<Why> {
        match self {
            Self::Is(_) => None,
            Self::Not(why) => Some(*why),
        }
    }

    /// Applies `f` to a known value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Is(value) => Known::Is(f(value)),
            Self::Not(why) => Known::Not(why),
        }
    }

    /// The value, or the reason as an error: for `?`.
    ///
    /// # Errors
    /// The reason.
    pub fn ok(self) -> Result<T, Why> {
        match self {
            Self::Is(value) => Ok(value),
            Self::Not(why) => Err(why),
        }
    }

    /// A reference to what is inside.
    pub const fn as_ref(&self) -> Known<&T> {
        match self {
            Self::Is(value) => Known::Is(value),
            Self::Not(why) => Known::Not(*why),
        }
    }
}

/// Why something is not known. `Display` gives the reason in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The owner is another user's process: ptrace(2) access is needed (root, or the same user).
    NoPermission,
    /// Asking needs CAP_NET_ADMIN in the connection's network namespace.
    NoNetAdmin,
    /// No process that we can see holds a descriptor of this socket.
    NoOwner,
    /// No process holds a descriptor of this socket, and all of them could be read: it is in flight, on its way
    /// through a unix socket (SCM_RIGHTS), or the kernel holds it (a file registered with io_uring, a mounted
    /// NFS).
    NoProcess,
    /// No process that we may look into holds the socket, though they are all of its user's, or nearly all: it is
    /// in flight (SCM_RIGHTS), or a process holds it that is closed to us.
    NotSeen,
    /// No visible process holds the socket, and /proc hides other users' processes from us (hidepid, proc(5)).
    Hidden,
    /// No process of our PID namespace holds the socket: it is in flight (SCM_RIGHTS), or a process outside
    /// holds it.
    OutsidePidNamespace,
    /// Another run asks the peers of this network namespace, or of this connection.
    Busy,
    /// The program has not yet taken the connection from its listener's queue.
    NotAccepted,
    /// The socket went away while we looked.
    SocketGone,
    /// The descriptor belongs to another socket now.
    DescriptorReused,
    /// It is a subflow of an MPTCP connection (RFC 8684): its owner holds the connection, not the subflow.
    Multipath,
    /// This kernel has no such call or option.
    NotOnThisKernel,
    /// This socket has no such option, as MPTCP sockets have no user timeout.
    NotOnThisSocket,
    /// The system's default, a sysctl, can't be read.
    UnreadableDefault,
    /// The system's default, a sysctl, has a value that no formula here covers.
    OutOfRange,
    /// Nobody asked for it.
    NotAsked,
    /// The socket is in repair: somebody is checkpointing it (TCP_REPAIR).
    InRepair,
    /// Only an open connection can be asked: ESTABLISHED, or FIN_WAIT2 with an owner.
    NotEstablished,
    /// The socket has keepalive, a user timeout or unanswered probes of its own: without CAP_NET_ADMIN a
    /// question could shorten its life.
    OwnTimers,
    /// Data is in flight: keepalive does not run then, and asking in another way takes CAP_NET_ADMIN.
    DataInFlight,
    /// The peer was heard all the time, and keepalive asks only after a second of silence.
    NeverSilent,
    /// Another run has borrowed the socket's keepalive for its question, or was killed before it gave it back.
    Borrowed,
    /// Keepalive is off: nothing runs with its values.
    KeepaliveOff,
    /// We were stopped before its turn came.
    Interrupted,
    /// The kernel showed a timer that does not tell.
    TimerSilent,
    /// No formula for it is known on this system.
    NotModelled,
    /// A system call failed in a way that was not foreseen.
    Failed,
}

impl Why {
    /// The reason in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPermission => "no permission to look into the owner's descriptors",
            Self::NoNetAdmin => "CAP_NET_ADMIN is missing",
            Self::NoOwner => "no visible process owns the socket",
            Self::NoProcess => {
                "no process holds it: it is in flight (SCM_RIGHTS), or the kernel holds it (io_uring, NFS)"
            }
            Self::NotSeen => {
                "no process that is open to us holds it: it is in flight (SCM_RIGHTS), or a closed one holds it"
            }
            Self::Hidden => "no visible process owns the socket, and /proc hides other users' (hidepid)",
            Self::OutsidePidNamespace => {
                "no process of this PID namespace holds it: it is in flight (SCM_RIGHTS), or held outside"
            }
            Self::Busy => "another deadpeer is asking there",
            Self::NotAccepted => "not yet accepted by its program",
            Self::SocketGone => "the socket went away while we looked",
            Self::DescriptorReused => "the descriptor was reused while we looked",
            Self::Multipath => "a subflow of an MPTCP connection; those are left alone",
            Self::NotOnThisKernel => "not available on this kernel",
            Self::NotOnThisSocket => "this socket has no such option",
            Self::UnreadableDefault => "the system's default can't be read",
            Self::OutOfRange => "its value is out of the range that is understood",
            Self::NotAsked => "not asked for",
            Self::InRepair => "the socket is in repair (checkpointed)",
            Self::NotEstablished => "only an established connection can be asked",
            Self::OwnTimers => "its own keepalive or timeout could count our question; needs CAP_NET_ADMIN",
            Self::DataInFlight => "keepalive can't ask while data is in flight; needs CAP_NET_ADMIN",
            Self::NeverSilent => "keepalive asks after a second of silence, and there was none",
            Self::Borrowed => {
                "another deadpeer is asking, or was killed while it did, and has its keepalive on"
            }
            Self::KeepaliveOff => "keepalive is off",
            Self::Interrupted => "interrupted before its turn",
            Self::TimerSilent => "the kernel's timer does not tell",
            Self::NotModelled => "no formula is known for this system",
            Self::Failed => "a system call failed unexpectedly",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
