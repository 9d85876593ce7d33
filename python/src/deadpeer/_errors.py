"""What can go wrong."""

from __future__ import annotations

from ._library import SYSTEM, UNREACHABLE, library


class Error(Exception):
    """deadpeer could not do what was asked.

    ``status`` is the library's number (``deadpeer_status``), ``errno`` the system's, or 0 if no system call
    failed.
    """

    def __init__(self, text: str, status: int, errno: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.errno = errno


class PolicyError(Error, ValueError):
    """What is wanted contradicts itself, or can't be had on this system."""


class SocketError(Error, OSError):
    """The system refused: not a TCP socket, closed …  ``errno`` says which."""

    def __str__(self) -> str:
        return str(self.args[0])


def failed(status: int) -> Error:
    """The exception for a call that has just failed on this thread."""
    text = library.deadpeer_last_error().decode()
    kinds = {SYSTEM: SocketError, UNREACHABLE: PolicyError}
    return kinds.get(status, Error)(text, status, library.deadpeer_last_errno())
