"""What the gateway asks the registry for besides the list that it follows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, runtime_checkable

from anyio import fail_after

from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.ports.directory import HistoryEvent
from hub.registry.client.schemas import InstanceBody, StatsBody
from hub.types import Fingerprint, ModelName

TIMEOUT: Final = 3.0
"""Seconds that the registry has to answer: somebody sits in front of the page."""


@runtime_checkable  # Litestar checks what it injects
class RegistryQueries(Protocol):
    """The registry, for reading; see `hub.registry.client.client.RegistryClient`, which may raise as it says there."""

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None: ...

    async def stats(self) -> StatsBody: ...

    async def instances(self) -> Sequence[InstanceBody]: ...

    async def history(self, *, model: ModelName | None = None, limit: int = 100) -> Sequence[HistoryEvent]: ...


@contextmanager
def timeout() -> Generator[None]:
    """Gives the registry `TIMEOUT`; a registry that is silent for so long counts as lost."""
    try:
        with fail_after(TIMEOUT):
            yield
    except TimeoutError as error:
        raise ConnectionLost("registry", f"it has not answered for {TIMEOUT:g} s") from error
