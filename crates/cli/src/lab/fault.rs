//! The ways a peer can go.

/// A fault, as the near end of a connection meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Closed,
    Killed,
    ClosedUnread,
    Aborted,
    Silent,
    Rebooted,
    Unreachable,
    MappingLost,
    MappingReset,
    Outage,
    Frozen,
    SilentInFlight,
    ShutWindow,
    ShutThenSilent,
    OneWay,
}

impl Fault {
    pub(super) const ALL: [Self; 15] = [
        Self::Closed,
        Self::Killed,
        Self::ClosedUnread,
        Self::Aborted,
        Self::Silent,
        Self::Rebooted,
        Self::Unreachable,
        Self::MappingLost,
        Self::MappingReset,
        Self::Outage,
        Self::Frozen,
        Self::SilentInFlight,
        Self::ShutWindow,
        Self::ShutThenSilent,
        Self::OneWay,
    ];

    /// Its name in kebab case, stable.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Killed => "killed",
            Self::ClosedUnread => "closed-unread",
            Self::Aborted => "aborted",
            Self::Silent => "silent",
            Self::Rebooted => "rebooted",
            Self::Unreachable => "unreachable",
            Self::MappingLost => "mapping-lost",
            Self::MappingReset => "mapping-reset",
            Self::Outage => "outage",
            Self::Frozen => "frozen",
            Self::SilentInFlight => "silent-in-flight",
            Self::ShutWindow => "shut-window",
            Self::ShutThenSilent => "shut-then-silent",
            Self::OneWay => "one-way",
        }
    }

    /// What happens, in a few words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Closed => "the peer closes",
            Self::Killed => "its process is killed",
            Self::ClosedUnread => "it closes, we never read",
            Self::Aborted => "it closes, our data unread",
            Self::Silent => "its host dies, idle",
            Self::Rebooted => "its host reboots, idle",
            Self::Unreachable => "a router says unreachable",
            Self::MappingLost => "a router forgets us, idle",
            Self::MappingReset => "a router resets us, idle",
            Self::Outage => "a short outage heals",
            Self::Frozen => "its process is frozen",
            Self::SilentInFlight => "its host dies, data in flight",
            Self::ShutWindow => "it lives and reads nothing",
            Self::ShutThenSilent => "it reads nothing, then dies",
            Self::OneWay => "only its answers are lost",
        }
    }

    /// Whether the connection is healthy and has to survive.
    pub(super) const fn is_healthy(self) -> bool {
        matches!(self, Self::Outage | Self::ShutWindow)
    }

    /// Whether data is sent that the peer does not acknowledge.
    pub(super) const fn is_in_flight(self) -> bool {
        matches!(self, Self::Unreachable | Self::SilentInFlight | Self::OneWay | Self::Outage)
    }

    /// Whether the peer's window is shut before anything else happens.
    pub(super) const fn has_shut_window(self) -> bool {
        matches!(self, Self::ShutWindow | Self::ShutThenSilent)
    }

    /// Whether the peer's end goes with a reset.
    pub(super) const fn is_abrupt(self) -> bool {
        matches!(self, Self::Aborted | Self::Rebooted | Self::MappingReset)
    }

    /// Whether it happens on a router between two hosts.
    pub(super) const fn needs_router(self) -> bool {
        matches!(self, Self::Unreachable | Self::MappingLost)
    }

    /// Whether the far end has to be a process of its own.
    pub(super) const fn needs_process(self) -> bool {
        matches!(self, Self::Killed | Self::Frozen)
    }
}
