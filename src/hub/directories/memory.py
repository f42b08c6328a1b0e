"""The registry's database of a hub in one process. Forgets everything at exit; the instances log in again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Self, final

from anyio import AsyncContextManagerMixin, current_time
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.contract.contract import Contract
from hub.directories.sharing import Sharing
from hub.ports import (
    HISTORY_LENGTH,
    Directory,
    DirectoryNews,
    HistoryEvent,
    InstanceEntry,
    KnownContract,
    Leases,
    Report,
    SharedInstance,
    Standing,
)
from hub.vocabulary import Fingerprint, InstanceId, ModelName, RegistryId


@final
class MemoryDirectory(Directory, AsyncContextManagerMixin):
    """Dicts, and the rules by which registries share the work."""

    def __init__(self) -> None:
        self._instances: dict[InstanceId, InstanceEntry] = {}
        self._contracts: dict[tuple[ModelName, Fingerprint], KnownContract] = {}
        self._sharing = Sharing()
        self._standings: dict[InstanceId, Standing] = {}
        self._history: deque[HistoryEvent] = deque(maxlen=HISTORY_LENGTH)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self

    @override
    async def login(
        self, entry: InstanceEntry, contract: Contract, *, beside: Collection[Fingerprint] = ()
    ) -> Fingerprint | None:
        await checkpoint()
        tolerated = {entry.fingerprint, *beside}
        for other in self._instances.values():
            if other.model == entry.model and other.id != entry.id and other.fingerprint not in tolerated:
                return other.fingerprint
        self._instances[entry.id] = entry
        self._contracts.setdefault(
            (entry.model, entry.fingerprint),
            KnownContract(
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
    async def contracts(self) -> Sequence[KnownContract]:
        await checkpoint()
        return sorted(self._contracts.values(), key=lambda known: (known.first_seen_at, known.first_seen_from))

    @override
    async def lease(
        self, registry: RegistryId, *, ttl: float, claim: Collection[InstanceId] = (), standby: bool = False
    ) -> Leases:
        await checkpoint()
        return self._sharing.lease(registry, self._instances, ttl=ttl, claim=claim, standby=standby, now=current_time())

    @override
    async def release(self, registry: RegistryId) -> None:
        await checkpoint()
        self._sharing.release(registry)

    @override
    async def report(self, reports: Sequence[Report]) -> Sequence[bool]:
        await checkpoint()
        return [self._report(report) for report in reports]

    @override
    async def news(self, after: int) -> DirectoryNews:
        await checkpoint()
        revision = self._sharing.revision
        complete = after == 0 or after > revision
        changed = dict.fromkeys(self._instances, 0) if complete else self._sharing.changed(after)
        return DirectoryNews(
            revision=revision,
            complete=complete,
            instances=[self._shared(instance) for instance in changed if instance in self._instances],
            gone={} if complete else {one: number for one, number in changed.items() if one not in self._instances},
        )

    @override
    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        await checkpoint()
        return list(self._history)[:limit]

    def _report(self, report: Report) -> bool:
        token = self._sharing.token(report.instance)
        if report.instance not in self._instances or token == 0 or token != report.token:
            return False
        if report.standing is None:
            self._depart(report.instance)
        else:
            self._standings[report.instance] = report.standing
            self._sharing.mark(report.instance)
        self._history.extendleft(report.events)
        return True

    def _depart(self, instance: InstanceId) -> None:
        del self._instances[instance]
        self._standings.pop(instance, None)
        self._sharing.forget(instance)

    def _shared(self, instance: InstanceId) -> SharedInstance:
        return SharedInstance(
            entry=self._instances[instance],
            token=self._sharing.token(instance),
            standing=self._standings.get(instance),
        )
