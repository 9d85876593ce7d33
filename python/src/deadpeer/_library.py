"""The C library, as ctypes sees it: the structures and functions of deadpeer.h."""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p, sizeof
from typing import TypeVar

#: deadpeer_status
INVALID, SYSTEM, UNREACHABLE = -1, -2, -3
#: Times and numbers that are none.
NEVER, UNKNOWN = -1, -2


class Goals(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("detect_ms", c_uint64),
        ("survive_ms", c_uint64),
        ("mapping_timeout_ms", c_uint64),
        ("bytes_per_day", c_uint64),
        ("slow_readers", c_int),
        ("reserved", c_int),
        ("accept_rto_ceiling", c_int),
        ("best_effort", c_int),
    ]


class Range(ctypes.Structure):
    _fields_ = [("least_ms", c_int64), ("most_ms", c_int64)]


class Gap(ctypes.Structure):
    _fields_ = [("option", c_char * 32), ("wanted_ms", c_int64), ("got_ms", c_int64), ("error", c_int)]


class Applied(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("keepalive_idle_ms", c_int64),
        ("keepalive_interval_ms", c_int64),
        ("keepalive_probes", c_int64),
        ("user_timeout_ms", c_int64),
        ("rto_max_ms", c_int64),
        ("idle", Range),
        ("in_flight", Range),
        ("gap_count", c_size_t),
        ("gaps", Gap * 8),
    ]


class PeerLost(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("cause", c_int),
        ("noticed_by", c_int),
        ("silent_ms", c_int64),
        ("unacknowledged", c_int64),
        ("error", c_int),
        ("cause_word", c_char * 32),
        ("noticed_by_word", c_char * 32),
        ("text", c_char * 192),
    ]


class Diagnosis(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("verdict", c_int),
        ("cause", c_int),
        ("silent_ms", c_int64),
        ("unanswered_ms", c_int64),
        ("round_trip_us", c_int64),
        ("unacknowledged", c_int64),
        ("unread", c_int64),
        ("pending_error", c_int),
        ("readable", c_int),
        ("writable", c_int),
        ("peer_closed", c_int),
        ("end_of_file", c_int),
        ("retransmits", c_int),
        ("probes", c_int),
        ("idle", Range),
        ("in_flight", Range),
        ("state", c_char * 16),
        ("verdict_word", c_char * 32),
        ("cause_word", c_char * 32),
        ("evidence", c_char * 256),
    ]


S = TypeVar("S", bound=ctypes.Structure)


def sized(structure: type[S]) -> S:
    """An empty structure that says which version it is."""
    return structure(size=sizeof(structure))


def _load() -> ctypes.CDLL:
    here = pathlib.Path(__file__).with_name("libdeadpeer.so")
    given = os.environ.get("DEADPEER_LIBRARY")
    # The wheel's own; else what the system has installed.
    name = given or (str(here) if here.exists() else "libdeadpeer.so.0.1")
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(
            f"deadpeer needs its shared library, and {name} can't be loaded ({error}): install the wheel, or "
            "build it (cargo build --release -p deadpeer-capi) and name it in DEADPEER_LIBRARY"
        ) from error
    library.deadpeer_version.restype = c_char_p
    library.deadpeer_version.argtypes = []
    library.deadpeer_last_error.restype = c_char_p
    library.deadpeer_last_error.argtypes = []
    library.deadpeer_last_errno.argtypes = []
    library.deadpeer_policy_new.restype = c_void_p
    library.deadpeer_policy_new.argtypes = [POINTER(Goals)]
    library.deadpeer_policy_free.argtypes = [c_void_p]
    library.deadpeer_apply.argtypes = [c_int, c_void_p, POINTER(Applied)]
    library.deadpeer_diagnose.argtypes = [c_int, POINTER(Diagnosis), POINTER(PeerLost)]
    library.deadpeer_lost.argtypes = [c_int, c_int64, POINTER(PeerLost)]
    library.deadpeer_over.argtypes = [c_int, c_int64, POINTER(PeerLost)]
    library.deadpeer_before_close.argtypes = [c_int]
    library.deadpeer_explain.argtypes = [c_int, c_int, POINTER(PeerLost)]
    return library


library = _load()

__all__ = ["INVALID", "NEVER", "SYSTEM", "UNKNOWN", "UNREACHABLE", "byref", "library", "sized"]
