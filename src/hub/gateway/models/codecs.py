"""What reads the messages of a task, whatever contract it was written for."""

from __future__ import annotations

from typing import final

import structlog

from hub.errors import HubError
from hub.gateway.models.catalog import Catalog
from hub.gateway.models.codec import Codec
from hub.gateway.models.registry_queries import RegistryQueries, timeout
from hub.task import TaskRecord

_log = structlog.get_logger("hub.gateway")


@final
class CodecResolver:
    """Finds the codec of a task: of a contract that the catalog has, or that only the registry remembers.

    The latter is for a gateway that has started after a model got another contract: results of the one before are still
    to be had. What was found once stays in the catalog.

    Args:
        catalog: Has the contracts that this gateway has seen.
        registry: Keeps every contract that it has ever accepted.
    """

    def __init__(self, catalog: Catalog, registry: RegistryQueries) -> None:
        self._catalog = catalog
        self._registry = registry

    async def of(self, record: TaskRecord) -> Codec | None:
        """The codec for the request and the response of a task.

        Returns:
            `None` if the registry does not know the contract, cannot be asked now, or this version of hub cannot use it:
            the messages can be passed on as protobuf only.
        """
        known = self._catalog.codec(record.fingerprint)
        if known is not None:
            return known
        try:
            with timeout():
                contract = await self._registry.contract(record.model, record.fingerprint)
        except HubError as error:
            _log.warning("the contract of a task cannot be fetched", model=record.model, reason=str(error))
            return None
        return None if contract is None else await self._catalog.compiled(record.model, contract)
