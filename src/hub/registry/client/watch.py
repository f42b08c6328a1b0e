"""Follows the registry's list of models by long polling."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Final, Self, final

from typing_extensions import override

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost, ConnectionRefused
from hub.registry.client.client import RegistryClient
from hub.registry.client.snapshot import ModelsSnapshot

MAX_WAIT: Final = 30.0
"""Seconds that the registry holds one request when nothing changes."""

REPLY_TIMEOUT: Final = 5.0
"""Seconds beyond a wait after which the registry counts as lost: for its reply, and for contracts that are new here."""


@final
class ModelWatch(AsyncIterator[ModelsSnapshot]):
    """An endless iterator: the list of models now, then again at each change.

    Requests are retried with backoff; meanwhile the last snapshot stays valid. A cancelled `__anext__` loses nothing: the next
    one continues from the same version. Use it from one task.

    Raises:
        ConnectionRefused: From `__anext__`, for instance when the token is wrong; not after the registry has once answered.
        RegistryRefused: From `__anext__`, when what answers is no registry.
    """

    def __init__(
        self, client: RegistryClient, *, backoff: ExponentialBackoff | None = None, rng: random.Random | None = None
    ) -> None:
        self._client = client
        self._backoff = backoff or ExponentialBackoff()
        self._rng = rng
        self._etag = ""
        self._connected = False
        self._attempts = AttemptLog(client.server)

    @property
    def connected(self) -> bool:
        """Whether the registry answered the last request: for health pages, the list may be out of date if not."""
        return self._connected

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> ModelsSnapshot:
        while True:
            attempts = retrying(on=self._is_retried, backoff=self._backoff, on_retry=self._on_retry, rng=self._rng)
            snapshot = await attempts.call(self._poll)
            self._connected = True
            self._attempts.succeeded()
            if snapshot is not None:
                self._etag = snapshot.etag
                return snapshot

    def _is_retried(self, error: Exception) -> bool:
        if isinstance(error, ConnectionRefused):
            return self._attempts.reached
        return isinstance(error, ConnectionLost)

    def _on_retry(self, error: Exception, delay: float) -> None:
        self._connected = False
        self._attempts.on_retry(error, delay)

    async def _poll(self) -> ModelsSnapshot | None:
        # The first request, and the first after a loss, does not wait: it shows whether the registry is back.
        wait = MAX_WAIT if self._connected else 0.0
        with connection_timeout(self._client.server, wait + REPLY_TIMEOUT):
            return await self._client.models_after(self._etag, wait=wait)
