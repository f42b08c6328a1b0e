"""The registry's database of a hub in one process. Forgets everything at exit; the instances log in again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self, final

from anyio import AsyncContextManagerMixin, current_time
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.contract.contract import Contract
from hub.directories.leasing import Sharing
from hub.errors import NotYourInstance, RegistryFull
from hub.ports.directory import (
    HISTORY_LENGTH,
    Directory,
    DirectoryChanges,
    HistoryEvent,
    InstanceEntry,
    InstanceHealth,
    LeaseSet,
    LoginLimits,
    RegisteredContract,
    StatusUpdate,
    StoredInstance,
)
from hub.types import Fingerprint, InstanceId, ModelName, RegistryId


@final
class MemoryDirectory(Directory, AsyncContextManagerMixin):
    """Dicts, and the rules by which registries share the work."""

    def __init__(self) -> None:
        self._instances: dict[InstanceId, InstanceEntry] = {}
        self._contracts: dict[tuple[ModelName, Fingerprint], RegisteredContract] = {}
        self._unused_since: dict[tuple[ModelName, Fingerprint], float] = {}
        self._sharing = Sharing()
        self._health: dict[InstanceId, InstanceHealth] = {}
        self._history: deque[HistoryEvent] = deque(maxlen=HISTORY_LENGTH)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self

    @override
    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        compatible_with: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        await checkpoint()
        before = self._instances.get(entry.id)
        if before is not None and not before.owned_by(proof):
            raise NotYourInstance(entry.id)
        tolerated = {entry.fingerprint, *compatible_with}
        for other in self._instances.values():
            if other.model == entry.model and other.id != entry.id and other.fingerprint not in tolerated:
                return other.fingerprint
        if limits is not None:
            self._make_room(entry, contract, limits)
        self._unused_since[entry.model, entry.fingerprint] = current_time()
        if before is not None:
            self._unused_since[before.model, before.fingerprint] = current_time()
        self._instances[entry.id] = entry
        self._contracts.setdefault(
            (entry.model, entry.fingerprint),
            RegisteredContract(
                model=entry.model,
                contract=contract,
                first_seen_at=entry.logged_in_at,
                first_seen_from=entry.id,
            ),
        )
        return None

    @override
    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        await checkpoint()
        if instance not in self._instances:
            return False
        self._depart(instance)
        if event is not None:
            self._history.appendleft(event)
        return True

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        await checkpoint()
        return sorted(self._instances.values(), key=lambda entry: (entry.logged_in_at, entry.id))

    @override
    async def instance_ids(self) -> Collection[InstanceId]:
        await checkpoint()
        return frozenset(self._instances)

    @override
    async def stored(self, instances: Collection[InstanceId]) -> Sequence[StoredInstance]:
        await checkpoint()
        return [self._shared(instance) for instance in instances if instance in self._instances]

    @override
    async def contracts(self) -> Sequence[RegisteredContract]:
        await checkpoint()
        return sorted(self._contracts.values(), key=lambda known: (known.first_seen_at, known.first_seen_from))

    @override
    async def lease(self, registry: RegistryId, *, ttl: float, standby: bool = False) -> LeaseSet:
        await checkpoint()
        return self._sharing.lease(registry, self._instances, ttl=ttl, standby=standby, now=current_time())

    @override
    async def claim(
        self, registry: RegistryId, instances: Collection[InstanceId], *, ttl: float
    ) -> Mapping[InstanceId, int]:
        await checkpoint()
        known = [instance for instance in instances if instance in self._instances]
        return self._sharing.claim(registry, known, ttl=ttl, now=current_time())

    @override
    async def release(self, registry: RegistryId) -> None:
        await checkpoint()
        self._sharing.release(registry)

    @override
    async def report(self, updates: Sequence[StatusUpdate]) -> Sequence[bool]:
        await checkpoint()
        return [self._report(update) for update in updates]

    @override
    async def changes_since(self, revision: int, *, reader: RegistryId | None = None) -> DirectoryChanges:
        await checkpoint()
        latest = self._sharing.revision
        complete = revision == 0 or revision > latest
        changed = dict.fromkeys(self._instances, 0) if complete else self._sharing.changed(revision)
        return DirectoryChanges(
            revision=latest,
            complete=complete,
            instances=[
                self._shared(instance)
                for instance in changed
                if instance in self._instances and not self._sharing.leased_by(reader, instance)
            ],
            removed={} if complete else {one: number for one, number in changed.items() if one not in self._instances},
        )

    @override
    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        await checkpoint()
        return list(self._history)[:limit]

    @override
    async def forget(self, ttl: float) -> int:
        await checkpoint()
        used = self._used()
        dropped = [
            key for key, since in self._unused_since.items() if key not in used and since + ttl <= current_time()
        ]
        for key in dropped:
            self._drop(key)
        return len(dropped)

    def _make_room(self, entry: InstanceEntry, contract: Contract, limits: LoginLimits) -> None:
        others = [one for one in self._instances.values() if one.id != entry.id]
        peers = sum(one.model == entry.model for one in others)
        if not peers and len({one.model for one in others}) >= limits.max_models:
            raise RegistryFull("max_models", limits.max_models)
        if len(others) >= limits.max_instances:
            raise RegistryFull("max_instances", limits.max_instances)
        if peers >= limits.max_model_instances:
            raise RegistryFull("max_model_instances", limits.max_model_instances)
        if (entry.model, entry.fingerprint) in self._contracts:
            return
        used = self._used()
        unused = sorted((key for key in self._contracts if key not in used), key=lambda key: self._unused_since[key])
        while True:
            size = sum(len(each.contract.files) for each in self._contracts.values()) + len(contract.files)
            if len(self._contracts) >= limits.max_contracts:
                full = RegistryFull("max_contracts", limits.max_contracts)
            elif size > limits.max_contract_bytes:
                full = RegistryFull("max_contract_bytes", limits.max_contract_bytes)
            else:
                return
            if not unused:
                raise full
            self._drop(unused.pop(0))

    def _used(self) -> set[tuple[ModelName, Fingerprint]]:
        return {(one.model, one.fingerprint) for one in self._instances.values()}

    def _drop(self, key: tuple[ModelName, Fingerprint]) -> None:
        del self._contracts[key]
        del self._unused_since[key]

    def _report(self, report: StatusUpdate) -> bool:
        token = self._sharing.token(report.instance)
        if report.instance not in self._instances or token == 0 or token != report.token:
            return False
        if report.health is None:
            self._depart(report.instance)
        else:
            self._health[report.instance] = report.health
            self._sharing.mark(report.instance)
        self._history.extendleft(report.events)
        return True

    def _depart(self, instance: InstanceId) -> None:
        entry = self._instances.pop(instance)
        self._unused_since[entry.model, entry.fingerprint] = current_time()
        self._health.pop(instance, None)
        self._sharing.forget(instance)

    def _shared(self, instance: InstanceId) -> StoredInstance:
        return StoredInstance(
            entry=self._instances[instance],
            token=self._sharing.token(instance),
            health=self._health.get(instance),
        )
