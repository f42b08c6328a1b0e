"""Which of several registries pings which instances: the rules that `lua/lease.lua` has for Redis, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil
from typing import final

from hub.ports.directory import LeaseSet
from hub.types import LONGEST_CHANGES, InstanceId, RegistryId


@final
class Sharing:
    """LeaseSet, and the revisions of changes. Plain bookkeeping; time comes in as seconds on any steady clock.

    A lease is the pair of a token and the registry that has it. It counts for as long as that registry is alive, so
    one entry per registry is all that has to be renewed.
    """

    def __init__(self) -> None:
        self._alive_until: dict[RegistryId, float] = {}
        self._leases: dict[InstanceId, tuple[int, RegistryId]] = {}
        self._changes: dict[InstanceId, int] = {}
        self._revision = 0

    @property
    def revision(self) -> int:
        return self._revision

    def token(self, instance: InstanceId) -> int:
        """The token of the newest lease of an instance, 0 without one."""
        return self._leases[instance][0] if instance in self._leases else 0

    def changed(self, after: int) -> Mapping[InstanceId, int]:
        """The instances that have changed after a revision, and at which; oldest change first."""
        return {instance: number for instance, number in self._changes.items() if number > after}

    def mark(self, instance: InstanceId) -> int:
        """Records a change of an instance for followers."""
        self._revision += 1
        self._changes.pop(instance, None)
        self._changes[instance] = self._revision
        while len(self._changes) > LONGEST_CHANGES:
            del self._changes[next(iter(self._changes))]
        return self._revision

    def forget(self, instance: InstanceId) -> None:
        """An instance has left."""
        self._leases.pop(instance, None)
        self.mark(instance)

    def release(self, registry: RegistryId) -> None:
        self._alive_until.pop(registry, None)

    def lease(
        self,
        registry: RegistryId,
        instances: Iterable[InstanceId],
        *,
        ttl: float,
        standby: bool,
        now: float,
    ) -> LeaseSet:
        """See `hub.ports.directory.Directory.lease`. `instances` are all there are."""
        self._alive_until = {one: until for one, until in self._alive_until.items() if until > now}
        if standby:
            self._alive_until.pop(registry, None)
            if self._alive_until:
                self._give_back(registry)
                return LeaseSet(tokens={}, registries=len(self._alive_until))
        self._alive_until[registry] = now + ttl
        everyone = sorted(instances)
        held: dict[RegistryId, list[InstanceId]] = {one: [] for one in sorted(self._alive_until)}
        free: list[InstanceId] = []
        for instance in everyone:
            holder = self._holder(instance)
            (free if holder is None else held[holder]).append(instance)
        alive, mine = len(held), held.pop(registry)
        for instance in free[: max(ceil(len(everyone) / alive) - len(mine), 0)]:
            mine.append(instance)
            self._take(instance, registry)
        while len(mine) < len(everyone) // alive:
            richest = max(held.values(), key=len)  # one has more than the average, since this one has less
            mine.append(richest.pop())
            self._take(mine[-1], registry)
        return LeaseSet(tokens={instance: self.token(instance) for instance in mine}, registries=alive)

    def claim(
        self, registry: RegistryId, instances: Collection[InstanceId], *, ttl: float, now: float
    ) -> Mapping[InstanceId, int]:
        """See `hub.ports.directory.Directory.claim`. All `instances` are known."""
        self._alive_until[registry] = max(now + ttl, self._alive_until.get(registry, 0.0))
        for instance in instances:
            if self._leases.get(instance, (0, None))[1] != registry:
                self._take(instance, registry)
        return {instance: self.token(instance) for instance in instances}

    def leased_by(self, registry: RegistryId | None, instance: InstanceId) -> bool:
        """Whether the newest lease of an instance is this registry's."""
        return registry is not None and self._leases.get(instance, (0, None))[1] == registry

    def _holder(self, instance: InstanceId) -> RegistryId | None:
        _, holder = self._leases.get(instance, (0, None))
        return holder if holder in self._alive_until else None

    def _take(self, instance: InstanceId, registry: RegistryId) -> None:
        self._leases[instance] = (self.mark(instance), registry)

    def _give_back(self, registry: RegistryId) -> None:
        for instance, (_, holder) in list(self._leases.items()):
            if holder == registry:
                del self._leases[instance]
                self.mark(instance)
