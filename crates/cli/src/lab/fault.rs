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
    OneWayOut,
    BlackHole,
    LongRoundTrip,
    Lossy,
}

impl Fault {
    pub(super) const ALL: [Self; 19] = [
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
        Self::OneWayOut,
        Self::BlackHole,
        Self::LongRoundTrip,
        Self::Lossy,
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
            Self::OneWayOut => "one-way-out",
            Self::BlackHole => "mtu-black-hole",
            Self::LongRoundTrip => "long-round-trip",
            Self::Lossy => "lossy",
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
            Self::OneWayOut => "only our packets are lost",
            Self::BlackHole => "only long packets are lost",
            Self::LongRoundTrip => "the round trip takes 2.2 s",
            Self::Lossy => "a tenth of all is lost",
        }
    }

    /// Whether the connection is healthy and has to survive.
    pub(super) const fn is_healthy(self) -> bool {
        matches!(self, Self::Outage | Self::ShutWindow | Self::LongRoundTrip | Self::Lossy)
    }

    /// Whether data is sent that the peer does not acknowledge, or not soon.
    pub(super) const fn is_in_flight(self) -> bool {
        matches!(self, Self::Unreachable | Self::SilentInFlight | Self::OneWay | Self::Outage)
            || self.needs_link()
    }

    /// Whether data is sent again and again. An idle connection over a path that loses a tenth of all packets would
    /// lose three keepalive probes in a row every few minutes.
    pub(super) const fn streams(self) -> bool {
        matches!(self, Self::Lossy)
    }

    /// Whether the peer's window is shut before anything else happens.
    pub(super) const fn has_shut_window(self) -> bool {
        matches!(self, Self::ShutWindow | Self::ShutThenSilent)
    }

    /// Whether the peer's end goes with a reset.
    pub(super) const fn is_abrupt(self) -> bool {
        matches!(self, Self::Aborted | Self::Rebooted | Self::MappingReset)
    }

    /// Whether the peer gets none of our heartbeats while we get what it sends: it is the one that notices, and we
    /// notice that it closes.
    pub(super) const fn is_noticed_by_the_peer(self) -> bool {
        matches!(self, Self::BlackHole)
    }

    /// Whether it happens on a router between two hosts.
    pub(super) const fn needs_router(self) -> bool {
        matches!(self, Self::Unreachable | Self::MappingLost)
    }

    /// Whether it happens on a path between two hosts that is impaired without being cut.
    pub(super) const fn needs_link(self) -> bool {
        matches!(self, Self::OneWayOut | Self::BlackHole | Self::LongRoundTrip | Self::Lossy)
    }

    /// Whether the peer is another host, not a socket of this one.
    pub(super) const fn is_remote(self) -> bool {
        self.needs_router() || self.needs_link()
    }

    /// Whether the far end has to be a process of its own.
    pub(super) const fn needs_process(self) -> bool {
        matches!(self, Self::Killed | Self::Frozen)
    }
}
