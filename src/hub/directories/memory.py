"""The registry's database of a hub in one process. Forgets everything at exit; the instances log in again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Self, final

from anyio import AsyncContextManagerMixin
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.contract.contract import Contract
from hub.ports import Directory, InstanceEntry, KnownContract
from hub.vocabulary import Fingerprint, InstanceId, ModelName


@final
class MemoryDirectory(Directory, AsyncContextManagerMixin):
    """Two dicts."""

    def __init__(self) -> None:
        self._instances: dict[InstanceId, InstanceEntry] = {}
        self._contracts: dict[tuple[ModelName, Fingerprint], KnownContract] = {}

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self

    @override
    async def login(self, entry: InstanceEntry, contract: Contract) -> Fingerprint | None:
        await checkpoint()
        for other in self._instances.values():
            if other.model == entry.model and other.id != entry.id and other.fingerprint != entry.fingerprint:
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
    async def logout(self, instance: InstanceId) -> bool:
        await checkpoint()
        return self._instances.pop(instance, None) is not None

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        await checkpoint()
        return sorted(self._instances.values(), key=lambda entry: (entry.logged_in_at, entry.id))

    @override
    async def contracts(self) -> Sequence[KnownContract]:
        await checkpoint()
        return sorted(self._contracts.values(), key=lambda known: (known.first_seen_at, known.first_seen_from))
