"""Requests of the gateway to the registry, apart from the list of models that it follows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, runtime_checkable

from anyio import CancelScope

from hub.concurrency.timeouts import connection_timeout
from hub.contract import Contract
from hub.ports.directory import HistoryEvent
from hub.registry.client.schemas import InstanceBody, StatsBody
from hub.types import Fingerprint, ModelName

REGISTRY_TIMEOUT: Final = 3.0
"""Seconds that the registry has to answer: a person may be waiting for the page."""


@runtime_checkable  # Litestar checks what it injects
class RegistryQueries(Protocol):
    """The registry, read only; see `hub.registry.client.client.RegistryClient` for the errors of each method."""

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None: ...

    async def stats(self) -> StatsBody: ...

    async def instances(self) -> Sequence[InstanceBody]: ...

    async def history(self, *, model: ModelName | None = None, limit: int = 100) -> Sequence[HistoryEvent]: ...


def registry_timeout() -> AbstractContextManager[CancelScope]:
    """Raises `ConnectionLost` if the block takes longer than `REGISTRY_TIMEOUT`."""
    return connection_timeout("registry", REGISTRY_TIMEOUT)
