"""Changes of the instance table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hub.ports.directory import InstanceEntry
from hub.types import InstanceState


class Removal(StrEnum):
    """Why an instance was removed."""

    REFUSED = "refused"
    MISSED = "missed"
    LOGOUT = "logout"
    REPLACED = "replaced"
    REMOTE = "remote"
    """Another registry removed it, for one of the other reasons."""


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """One instance went from one state to another.

    Attributes:
        before: `None` for a new instance.
        after: `None` for an instance that was removed.
        reason: Why; empty for a live instance.
        removal: `None` unless it was removed.
    """

    entry: InstanceEntry
    before: InstanceState | None
    after: InstanceState | None
    reason: str
    removal: Removal | None = None

    @property
    def event(self) -> str:
        """What happened, for a log line."""
        match self.after:
            case None:
                return "instance removed"
            case InstanceState.LOADING if self.before is None:
                return "instance logged in"
            case InstanceState.NOT_CONSUMING:
                return "instance does not consume tasks"
            case state:
                return f"instance is {state}"

    @property
    def expected(self) -> bool:
        """Whether it belongs to the normal life of an instance, so that it is no warning."""
        started = self.before is None or self.after in (InstanceState.LIVE, InstanceState.LOADING)
        return started or self.removal is Removal.LOGOUT
