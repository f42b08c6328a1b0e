"""What works between this registry and the directory, by kind of call."""

from __future__ import annotations

from typing import TypeAlias, final

import structlog

from hub.errors import CallRefused, ConnectionLost, Undecodable

DirectoryError: TypeAlias = ConnectionLost | Undecodable

_log = structlog.get_logger("hub.registry.directory")


@final
class DirectoryHealth:
    """Remembers the last error of each kind of call, until one of that kind succeeds.

    A server that accepts no changes still carries out calls that only read, so one success is not enough.
    """

    def __init__(self) -> None:
        self._errors: dict[str, DirectoryError] = {}

    @property
    def ok(self) -> bool:
        """Whether the directory carried out the last call of each kind. Without it logins fail; lists are still served."""
        return not self._errors

    @property
    def in_reach(self) -> bool:
        """Whether it answers at all, even if it refuses calls or has values that cannot be read; see `reason`."""
        return not any(
            isinstance(error, ConnectionLost) and not isinstance(error, CallRefused) for error in self._errors.values()
        )

    @property
    def reason(self) -> str:
        """Why calls fail: out of reach, out of memory, scripts forbidden, foreign values; empty if they do not."""
        return "; ".join(dict.fromkeys(error.reason for error in self._errors.values()))

    def has_failed(self, call: str) -> bool:
        """Whether the last call of a kind failed."""
        return call in self._errors

    def succeeded(self, call: str) -> None:
        self._errors.pop(call, None)

    def failed(self, call: str, error: DirectoryError) -> None:
        """Notes and logs an error; further errors of the same class are not logged until the first has passed."""
        known = list(self._errors.values())
        self._errors[call] = error
        if isinstance(error, Undecodable):  # which names all keys with foreign values
            if not any(isinstance(each, Undecodable) for each in known):
                _log.error("the directory has values that hub cannot read", reason=error.reason)
        elif not any(isinstance(each, ConnectionLost) for each in known):
            event = "directory refuses calls" if isinstance(error, CallRefused) else "directory out of reach"
            _log.warning(f"{event}; lists are still served, logins fail", reason=error.reason)
