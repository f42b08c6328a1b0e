"""Which tasks of other contracts an instance can run, as the registry answers to each login."""

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
"""Seconds that a task is held which only other instances can run, so that it does not circle between queue and instance."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


class ContractSource(Protocol):
    """The part of `hub.registry.client.client.RegistryClient` that is used here; see there."""

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None: ...

    async def schema_history(self, model: ModelName) -> SchemaHistoryBody: ...


@final
class RegistryCompatibility(ContractCompatibility):
    """Keeps the registry's answer to the last login, and fetches other contracts from it to describe the difference.

    Args:
        registry: The registry.
        model: Name of the model.
        contract: Contract of the instance.
    """

    def __init__(self, registry: ContractSource, model: ModelName, contract: Contract) -> None:
        self._registry = registry
        self._model = model
        self._contract = contract
        self._accepts: frozenset[Fingerprint] = frozenset()
        self._logged_in = Event()

    def on_login(self, result: LoginResult) -> None:
        """Takes the result of a login; called after each."""
        self._accepts = result.accepts
        self._logged_in.set()

    @override
    def can_read(self, fingerprint: Fingerprint) -> bool:
        """Whether tasks that were written for this other contract can be run here."""
        return fingerprint in self._accepts

    @override
    async def wait_ready(self) -> None:
        """Waits for the first login: before it, the name of the model may belong to another contract."""
        await self._logged_in.wait()

    @override
    async def describe_mismatch(self, fingerprint: Fingerprint) -> str | None:
        """How another contract differs from that of the instance, as the end of a sentence; empty if the registry does not know.

        Returns:
            `None`, after a pause, when instances with that contract are live: one of them may receive the task.
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
            _log.warning("the difference to another contract is not known", fingerprint=fingerprint, reason=str(error))
            return ""
        return ". Since then: " + "; ".join(difference.message for difference in found) if found else ""
