"""Following the registry's list of models by long poll."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Final, Self, final

from anyio import fail_after, sleep
from typing_extensions import override

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff
from hub.errors import ConnectionLost, ConnectionRefused
from hub.registry.client.client import RegistryClient
from hub.registry.client.snapshot import ModelsSnapshot

LONGEST_WAIT: Final = 30.0
"""Seconds that the registry holds one request when nothing changes."""

REPLY_GRACE: Final = 5.0
"""Seconds on top of a wait after which the registry counts as lost: its reply, and contracts that are new to us."""


@final
class ModelWatch(AsyncIterator[ModelsSnapshot]):
    """An endless iterator: the list of models now, then again at each change.

    A registry that is out of reach is tried again with backoff; meanwhile the last snapshot stands. Cancelling a
    `__anext__` loses nothing, the next one continues from the same version. Use it from one task.

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
        delays = self._backoff.intervals(self._rng)
        while True:
            try:
                snapshot = await self._poll()
            except (ConnectionLost, TimeoutError) as error:
                delay = next(delays)
                self._connected = False
                if isinstance(error, ConnectionRefused) and not self._attempts.reached:
                    raise
                self._attempts.failed(str(error) or "no answer", delay)
                await sleep(delay)
                continue
            self._connected = True
            self._attempts.succeeded()
            delays = self._backoff.intervals(self._rng)
            if snapshot is not None:
                self._etag = snapshot.etag
                return snapshot

    async def _poll(self) -> ModelsSnapshot | None:
        # A first request, and the first after a loss, is answered at once: it tells whether the registry is back.
        wait = LONGEST_WAIT if self._connected else 0.0
        with fail_after(wait + REPLY_GRACE):
            return await self._client.models_after(self._etag, wait=wait)
