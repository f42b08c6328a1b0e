"""What the registry knows of the models that this one calls."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, final

import structlog
from anyio import Lock, current_time, fail_after
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.errors import HubError, ModelUnavailable, UnknownModel
from hub.model.worker.calls.child_tasks import CalledModels
from hub.ports.directory import ModelLimits
from hub.registry.client.client import RegistryClient
from hub.registry.client.snapshot import KnownModel
from hub.types import ModelName

FRESH: Final = 1.0
"""Seconds for which a list of models is used; the registry answers to the next question that it is the same, if it is."""

TIMEOUT: Final = 2.0
"""Seconds that the registry has to answer. Without an answer a call is made all the same."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class RegistryModels(CalledModels):
    """Asks the registry once a second at most, and only while the model calls others.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry
        self._models: Mapping[ModelName, KnownModel] | None = None
        self._etag = ""
        self._asked_at = -inf
        self._lock = Lock()

    @override
    async def limits(self, model: ModelName) -> ModelLimits | None:
        known: KnownModel | None = None
        for max_age in (FRESH, 0.0):  # it may have logged in since
            models = await self._known(max_age)
            if models is None:
                return None
            known = models.get(model)
            if known is not None and (known.live or known.loading):
                return known.limits
        raise UnknownModel(model) if known is None else ModelUnavailable(model)

    async def _known(self, max_age: float) -> Mapping[ModelName, KnownModel] | None:
        async with self._lock:
            if current_time() - self._asked_at > max_age:
                try:
                    with fail_after(TIMEOUT):
                        snapshot = await self._registry.models_after(self._etag, wait=0)
                    if snapshot is not None:
                        self._models, self._etag = snapshot.models, snapshot.etag
                except (HubError, TimeoutError) as error:
                    _log.warning("calls are made without the list of models", reason=str(error) or "no answer in time")
                    self._models, self._etag = None, ""
                self._asked_at = current_time()
        return self._models
