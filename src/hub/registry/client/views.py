"""Instances and models as the registry sees them, as values."""

from __future__ import annotations

from dataclasses import dataclass

from hub.ports.directory import InstanceEntry, InstanceHealth
from hub.types import Fingerprint, InstanceState, ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus(InstanceHealth):
    """One instance now: its login and its health."""

    entry: InstanceEntry

    @property
    def health(self) -> InstanceHealth:
        """The part that the registries share through the directory."""
        return InstanceHealth(
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
