"""What the registry knows of instances and models, as values."""

from __future__ import annotations

from dataclasses import dataclass

from hub.ports.directory import InstanceEntry, InstanceStanding
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceState, ModelName, ReadinessSource

__all__ = ["InstanceState", "InstanceStatus", "ModelStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One instance now.

    Attributes:
        reason: Why it is not live, in words; empty if it is.
        misses: Pings in a row without an answer.
        answered_at: When it last answered a ping, in Unix seconds; `None` if it never has.
        stats: The statistics of its last ping reply; `None` before the first.
        not_consuming_source: Who says that it is deaf; `None` unless it is.
    """

    entry: InstanceEntry
    state: InstanceState
    reason: str
    misses: int
    answered_at: float | None
    stats: InstanceStats | None = None
    not_consuming_source: ReadinessSource | None = None

    @property
    def standing(self) -> InstanceStanding:
        """What other registries are to know of it."""
        return InstanceStanding(
            state=self.state,
            reason=self.reason,
            misses=self.misses,
            answered_at=self.answered_at,
            not_consuming_source=self.not_consuming_source,
            stats=self.stats,
        )


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
