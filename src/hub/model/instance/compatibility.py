"""Which tasks of other contracts an instance can be given, as the registry says at each login."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, final

import structlog
from anyio import Event, sleep
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract, Difference, diff
from hub.errors import HubError
from hub.model.worker.contract_mismatch import ContractCompatibility
from hub.registry.client.contract_schemas import SchemaHistoryBody
from hub.registry.client.login import LoginResult
from hub.types import Fingerprint, ModelName

PAUSE: Final = 1.0
"""Seconds that a task which only others can run is held before it goes back to the queue, so that it does not spin."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


class ContractSource(Protocol):
    """What is needed of `hub.registry.client.client.RegistryClient`; see there."""

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None: ...

    async def schema_history(self, model: ModelName) -> SchemaHistoryBody: ...


@final
class RegistryCompatibility(ContractCompatibility):
    """Keeps what the registry says to each login of an instance, and asks it about contracts that are foreign.

    Args:
        registry: The registry.
        model: Whose instance it is.
        contract: The instance's.
    """

    def __init__(self, registry: ContractSource, model: ModelName, contract: Contract) -> None:
        self._registry = registry
        self._model = model
        self._contract = contract
        self._accepts: frozenset[Fingerprint] = frozenset()
        self._admitted = Event()

    def admitted(self, admission: LoginResult) -> None:
        """The registry has let the instance in, on these terms. Called at each login."""
        self._accepts = admission.accepts
        self._admitted.set()

    @override
    def can_read(self, fingerprint: Fingerprint) -> bool:
        """Whether a task that was written for this other contract can be run here."""
        return fingerprint in self._accepts

    @override
    async def wait_ready(self) -> None:
        """Waits for the first login. Without it nobody knows whether the name is ours at all."""
        await self._admitted.wait()

    @override
    async def describe_mismatch(self, fingerprint: Fingerprint) -> str | None:
        """How another contract differs from ours, as the end of a sentence; empty if the registry cannot say.

        Returns:
            `None`, after a pause, when instances with that contract are up: one of them may get the task.
        """
        try:
            history = await self._registry.schema_history(self._model)
            if any(known.fingerprint == fingerprint and known.instances for known in history.contracts):
                await sleep(PAUSE)
                return None
            theirs = await self._registry.contract(self._model, fingerprint)
            found: Sequence[Difference] = ()
            if theirs is not None:
                size = CONTRACT_WEIGHT * (len(theirs.files) + len(self._contract.files))
                found = await in_thread_if_large(size, partial(diff, theirs, self._contract))
        except HubError as error:
            _log.warning("no words for a foreign contract", fingerprint=fingerprint, reason=str(error))
            return ""
        return ". Since then: " + "; ".join(difference.message for difference in found) if found else ""
