"""What the registry knows of instances and models, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hub.load import Load
from hub.ports import InstanceEntry
from hub.vocabulary import Fingerprint, ModelName


class InstanceState(StrEnum):
    """What the last ping said about an instance. Only a `LIVE` one makes its model active."""

    LIVE = "live"
    """It answers, and it consumes from the queue of its model."""

    DEAF = "deaf"
    """It answers, but says that it cannot work: it consumes nothing, its model is not well, or it is about to stop."""

    SUSPECT = "suspect"
    """It has not answered its last ping, or has not been pinged yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One instance now.

    Attributes:
        reason: Why it is not live, in words; empty if it is.
        misses: Pings in a row without an answer.
        answered_at: When it last answered a ping, in Unix seconds; `None` if it never has.
        load: What it last said of its work; `None` if it never has.
    """

    entry: InstanceEntry
    state: InstanceState
    reason: str
    misses: int
    answered_at: float | None
    load: Load | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model now, with its instances, oldest login first. A model that is only remembered has none."""

    name: ModelName
    fingerprint: Fingerprint
    instances: tuple[InstanceStatus, ...]

    def count(self, state: InstanceState) -> int:
        return sum(instance.state is state for instance in self.instances)

    @property
    def active(self) -> bool:
        """Whether the model is listed: one live instance is enough."""
        return self.count(InstanceState.LIVE) > 0
