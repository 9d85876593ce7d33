"""Know within seconds, not hours, that a TCP peer is gone, and why.

    >>> deadpeer.apply(sock, detect=30)          # a death is noticed within 30 s
    >>> deadpeer.diagnose(sock).verdict
    'alive'

Sockets are ``socket.socket``, asyncio's transports and ``StreamWriter``, anything with a ``fileno()``, or a
descriptor. Times are seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

from . import _library as c
from ._errors import Error, PolicyError, SocketError, failed

__all__ = [
    "Applied",
    "Diagnosis",
    "Error",
    "Gap",
    "PeerLost",
    "PolicyError",
    "Range",
    "SocketError",
    "apply",
    "before_close",
    "diagnose",
    "explain",
    "lost",
    "over",
    "version",
]


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class HasExtraInfo(Protocol):
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


Socket = Union[int, HasFileno, HasExtraInfo]


@dataclass(frozen=True)
class Range:
    """How long a silent peer goes unnoticed, seconds: ``math.inf`` for ever, None if that can't be told."""

    least: Optional[float]
    most: Optional[float]


@dataclass(frozen=True)
class Gap:
    """An option that the system did not take as it was wanted."""

    option: str
    wanted: float
    got: Optional[float]
    errno: int


@dataclass(frozen=True)
class Applied:
    """What a socket has set now, read back from the system. 0 means that it is off."""

    keepalive_idle: float
    keepalive_interval: float
    keepalive_probes: int
    user_timeout: Optional[float]
    rto_max: Optional[float]
    #: How long a silent peer goes unnoticed while nothing is in flight, and when data was sent.
    idle: Range
    in_flight: Range
    #: What the system did not take.
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class PeerLost:
    """Why a connection has ended. ``str()`` says it in a sentence."""

    #: "closed", "reset", "silent-idle", "silent-in-flight", "window-shut", "unreachable", "aborted-here",
    #: "never-connected", "refused"; "ended": another reader of the socket has taken the cause
    cause: str
    #: "end-of-file", "reset", "keepalive", "user-timeout", "retransmissions", "icmp", "local",
    #: "unknown"
    noticed_by: str
    #: How long ago anything last came from the peer when the end was noticed.
    silent: Optional[float]
    #: Bytes written that the peer's kernel has not acknowledged.
    unacknowledged: Optional[int]
    #: The system's error number, or 0. It is gone from the socket.
    errno: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Diagnosis:
    """What every classic look at a connection says, and what follows from all of them."""

    #: "alive", "closing", "ended", "opening", "unverified", "stalled", "leaked", "suspect", "dead"
    verdict: str
    cause: str
    #: The evidence as a sentence.
    evidence: str
    #: TCP's state: "established". It proves nothing about the peer.
    state: str
    #: How long ago anything last came from the peer.
    silent: Optional[float]
    #: For how long tries have gone unanswered; 0: nothing waits for an answer.
    unanswered: float
    round_trip: Optional[float]
    unacknowledged: int
    unread: int
    retransmits: int
    probes: int
    #: The error that was pending, or 0. **It is gone from the socket**, and the next read says "end of file".
    pending_errno: int
    readable: bool
    writable: bool
    peer_closed: bool
    end_of_file: bool
    #: How long a silent peer would go unnoticed from now on.
    idle: Range
    in_flight: Range
    #: Why the connection has ended, where it has.
    lost: Optional[PeerLost]


def version() -> str:
    """The version of the library that is loaded."""
    return str(c.library.deadpeer_version().decode())


def apply(
    sock: Socket,
    detect: float = 30,
    survive: Optional[float] = None,
    *,
    mapping_timeout: Optional[float] = None,
    bytes_per_day: Optional[int] = None,
    slow_readers: bool = False,
    accept_rto_ceiling: bool = False,
    best_effort: bool = False,
) -> Applied:
    """Lets the system notice within ``detect`` seconds that the peer is gone.

    ``survive``: outages this long must not end the connection; a third of ``detect`` unless given.
    ``mapping_timeout``: a NAT or firewall on the way forgets connections that are idle for so long.
    ``bytes_per_day``: what probes on an idle connection may cost. ``slow_readers``: the peer may read nothing
    for long, and must live; on Linux nothing but ``accept_rto_ceiling`` bounds data in flight then.
    ``accept_rto_ceiling``: TCP_RTO_MAX_MS may be set (Linux 6.15). It loses data that was written before a close
    in an outage of a few seconds, or while the peer reads nothing, unless you call ``before_close``; shorter outages
    end connections; and a congested link sees more retransmissions. ``best_effort``: what the system can't keep
    is no error; ``Applied`` says what it keeps.

    Sockets that a listener accepts later inherit the settings from it.

    Raises ``PolicyError`` for what can't be had, also when the socket keeps less than was wanted although it has the
    best settings now, and ``SocketError`` for what is no TCP socket. What the system did not take is no error as
    long as it notices a death in time: see ``Applied.gaps``.
    """
    goals = c.sized(c.Goals)
    goals.detect_ms = _millis("detect", detect)
    goals.survive_ms = 0 if survive is None else max(1, _millis("survive", survive))
    goals.mapping_timeout_ms = 0 if mapping_timeout is None else _millis("mapping_timeout", mapping_timeout)
    goals.bytes_per_day = 0 if bytes_per_day is None else _natural("bytes_per_day", bytes_per_day)
    goals.slow_readers = 1 if slow_readers else 0
    goals.accept_rto_ceiling = 1 if accept_rto_ceiling else 0
    goals.best_effort = 1 if best_effort else 0
    fd = _fd(sock)
    policy = c.library.deadpeer_policy_new(c.byref(goals))
    if not policy:
        # Only the numbers can be wrong.
        raise PolicyError(c.library.deadpeer_last_error().decode(), c.UNREACHABLE)
    try:
        applied = c.sized(c.Applied)
        _checked(c.library.deadpeer_apply(fd, policy, c.byref(applied)))
    finally:
        c.library.deadpeer_policy_free(policy)
    return Applied(
        keepalive_idle=applied.keepalive_idle_ms / 1000,
        keepalive_interval=applied.keepalive_interval_ms / 1000,
        keepalive_probes=applied.keepalive_probes,
        user_timeout=_seconds(applied.user_timeout_ms),
        rto_max=_seconds(applied.rto_max_ms),
        idle=_range(applied.idle),
        in_flight=_range(applied.in_flight),
        gaps=tuple(
            Gap(gap.option.decode(), gap.wanted_ms / 1000, _seconds(gap.got_ms), gap.error)
            for gap in applied.gaps[: applied.gap_count]
        ),
    )


def diagnose(sock: Socket) -> Diagnosis:
    """Looks at a connected socket in every way that neither reads nor writes nor waits.

    Whether a silent peer lives none of them can see: only waiting for the timers does (``lost``). Raises
    ``SocketError`` for what is no TCP socket.
    """
    seen, why = c.sized(c.Diagnosis), c.sized(c.PeerLost)
    ended = _checked(c.library.deadpeer_diagnose(_fd(sock), c.byref(seen), c.byref(why)))
    return Diagnosis(
        verdict=seen.verdict_word.decode(),
        cause=seen.cause_word.decode(),
        evidence=seen.evidence.decode(),
        state=seen.state.decode(),
        silent=_seconds(seen.silent_ms),
        unanswered=seen.unanswered_ms / 1000,
        round_trip=None if seen.round_trip_us == c.UNKNOWN else seen.round_trip_us / 1e6,
        unacknowledged=seen.unacknowledged,
        unread=seen.unread,
        retransmits=seen.retransmits,
        probes=seen.probes,
        pending_errno=seen.pending_error,
        readable=bool(seen.readable),
        writable=bool(seen.writable),
        peer_closed=bool(seen.peer_closed),
        end_of_file=bool(seen.end_of_file),
        idle=_range(seen.idle),
        in_flight=_range(seen.in_flight),
        lost=_lost(why) if ended else None,
    )


def before_close(sock: Socket) -> None:
    """Puts a socket's RTO ceiling (TCP_RTO_MAX_MS) back to Linux' longest, 120 s.

    Call it before you close a socket with ``accept_rto_ceiling``: else what was written before may be lost.
    """
    _checked(c.library.deadpeer_before_close(_fd(sock)))


def lost(sock: Socket, timeout: Optional[float] = 0) -> Optional[PeerLost]:
    """Waits up to ``timeout`` seconds (None: for ever) for the system to know that the peer is gone or closed.

    Data that comes does not end the wait and is not read. A pending error is taken from the socket: the next
    read says "end of file". Other threads run meanwhile; in asyncio use ``asyncio.to_thread``.

    A client that has closed its sending side, and waits for the answer, counts as closed: see ``over``.
    """
    return _wait(c.library.deadpeer_lost, sock, timeout)


def over(sock: Socket, timeout: Optional[float] = 0) -> Optional[PeerLost]:
    """Waits up to ``timeout`` seconds (None: for ever) for the system to know that the connection is over.

    That is: reset, timed out, or closed by both sides. Neither data nor the peer's FIN ends the wait, so this is the
    wait for work that is given up when nobody wants its result any more. A client that has closed both directions
    looks like one that waits for the answer, until something is sent to it. Else as ``lost``.
    """
    return _wait(c.library.deadpeer_over, sock, timeout)


def _wait(call: Any, sock: Socket, timeout: Optional[float]) -> Optional[PeerLost]:
    fd = _fd(sock)
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        # In slices, so that Ctrl-C is heard.
        left = max(0.0, end - time.monotonic())
        why = c.sized(c.PeerLost)
        wait = math.ceil(min(left, 0.5) * 1000)
        if _checked(call(fd, wait, c.byref(why))):
            return _lost(why)
        if left <= 0.5:
            return None


def explain(sock: Socket, error: Union[int, OSError]) -> Optional[PeerLost]:
    """Explains the error with which a read or write on ``sock`` failed; None if it does not end a connection.

    Ask before the socket is closed. asyncio closes it after ``Protocol.connection_lost``: ask there.
    """
    number = error if isinstance(error, int) else error.errno
    if number is None:
        return None
    why = c.sized(c.PeerLost)
    return _lost(why) if _checked(c.library.deadpeer_explain(_fd(sock), number, c.byref(why))) else None


def _fd(sock: Socket) -> int:
    if isinstance(sock, int):
        return sock
    get_extra_info = getattr(sock, "get_extra_info", None)
    if get_extra_info is not None:
        inner = get_extra_info("socket")
        if inner is None:
            raise TypeError(f"{sock!r} has no socket")
        return int(inner.fileno())
    fileno = getattr(sock, "fileno", None)
    if fileno is None:
        raise TypeError(f"a socket, a transport or a descriptor is needed, not {type(sock).__name__}")
    return int(fileno())


def _checked(status: int) -> int:
    if status < 0:
        raise failed(status)
    return status


def _millis(name: str, seconds: float) -> int:
    millis = seconds * 1000
    if not 0 <= millis < 2**53:  # NaN, too
        raise PolicyError(f"{name} is {seconds}: a time in seconds is needed", c.INVALID)
    return math.ceil(millis)


def _natural(name: str, number: int) -> int:
    if not 0 < number < 2**63:
        raise PolicyError(f"{name} is {number}: a positive number is needed", c.INVALID)
    return int(number)


def _seconds(millis: int) -> Optional[float]:
    if millis == c.NEVER:
        return math.inf
    return None if millis == c.UNKNOWN else millis / 1000


def _range(bound: c.Range) -> Range:
    return Range(_seconds(bound.least_ms), _seconds(bound.most_ms))


def _lost(why: c.PeerLost) -> PeerLost:
    return PeerLost(
        cause=why.cause_word.decode(),
        noticed_by=why.noticed_by_word.decode(),
        silent=_seconds(why.silent_ms),
        unacknowledged=None if why.unacknowledged == c.UNKNOWN else why.unacknowledged,
        errno=why.error,
        text=why.text.decode(),
    )
