"""A client that repeats each request until it is answered, under the same idempotency key."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, final

from anyio import fail_after, sleep
from httpx2 import AsyncClient, Response, TransportError

from hub.http.client import open_client
from tests.chaos.history import History, TaskHistory, TaskView
from tests.chaos.plan import STREAM, Job

TIMEOUT: Final = 15.0
"""Seconds for one answer beyond what the request itself asks to wait; more than `publish_timeout`."""

LONG_POLL: Final = 20
"""Seconds of long polling in one request for an outcome."""

PAUSE: Final = 0.2
"""Seconds before a failed request is sent again, to the other gateway."""

POOLS: Final = 8
CONNECTIONS: Final = 32
"""In each pool. A request scans every connection of its pool, so one large pool would be most of the client's work."""

_TRY_AGAIN: Final = frozenset({429, 503})
_UNKNOWN: Final = frozenset({404, 410})


@final
class Client:
    """Sends requests to the gateways in turn and records the answers in a history."""

    def __init__(self, pools: Sequence[AsyncClient], gateways: Sequence[str], history: History) -> None:
        self._pools = itertools.cycle(pools)
        self._gateways = itertools.cycle(gateways)
        self._history = history
        self._draw = random.Random()

    async def submit(self, job: Job, *, patient: bool = True) -> TaskHistory:
        """Returns once the task is accepted. Waits as long as `Retry-After` says if `patient`, else `PAUSE`."""
        entry = TaskHistory(job=job)
        self._history.entries.append(entry)
        headers = {"Idempotency-Key": job.key}
        if job.timeout is not None:
            headers["Hub-Timeout"] = f"{job.timeout}"
        for number in range(2 if job.repeated else 1):
            reply = await self._request(
                "POST",
                f"/v1/models/{job.model}/tasks",
                {202},
                headers=headers,
                json={"messages": job.message},
                patient=patient,
            )
            entry.accepted(reply.json()["id"], time.time())
            if number == 0:
                self._history.accepted += 1
        return entry

    async def cancel(self, entry: TaskHistory) -> None:
        """Cancels the task `cancel_after` seconds after its acceptance. It may have ended by then."""
        assert entry.job.cancel_after is not None
        await sleep(entry.job.cancel_after)
        reply = await self._request("DELETE", f"/v1/tasks/{entry.ids[0]}", {200, 409, *_UNKNOWN})
        if reply.status_code in _UNKNOWN:
            entry.missing += 1
        elif reply.json()["state"] == "cancelled":
            entry.cancelled_at = time.time()

    async def follow(self, entry: TaskHistory) -> None:
        """Returns once the task has ended, and records its outcome."""
        while entry.first is None:
            entry.first = await self._read(entry, wait=LONG_POLL)
        self._history.ended += 1

    async def read_again(self, entry: TaskHistory) -> None:
        """Records the outcome that the gateway shows now, if there is one."""
        entry.last = await self._read(entry)
        if entry.job.model == STREAM and entry.last is not None and entry.last.state == "succeeded":
            reply = await self._request(
                "GET", f"/v1/tasks/{entry.ids[0]}/chunks", {200, *_UNKNOWN}, headers={"Accept": "application/json"}
            )
            if reply.status_code in _UNKNOWN:
                entry.missing += 1
            else:
                entry.chunks = [chunk["reply"] for chunk in reply.json()]

    async def _read(self, entry: TaskHistory, wait: int = 0) -> TaskView | None:
        """The task if it has ended, else `None`."""
        query = f"?wait={wait}" if wait else ""
        reply = await self._request("GET", f"/v1/tasks/{entry.ids[0]}{query}", {200, *_UNKNOWN}, wait=wait)
        if reply.status_code in _UNKNOWN:
            entry.missing += 1
            await sleep(PAUSE)
            return None
        view = TaskView.of(reply.json())
        return view if view.terminal else None

    async def _request(
        self,
        method: str,
        path: str,
        wanted: set[int],
        *,
        wait: float = 0.0,
        patient: bool = True,
        headers: Mapping[str, str] | None = None,
        json: object = None,
    ) -> Response:
        """Repeats a request, to each gateway in turn, until the status is one of `wanted`."""
        while True:
            pause = PAUSE
            try:
                with fail_after(wait + TIMEOUT):
                    url = next(self._gateways) + path
                    reply = await next(self._pools).request(method, url, headers=headers, json=json)
            except (TransportError, TimeoutError) as error:
                _count(self._history.broken, type(error).__name__)
            else:
                if reply.status_code in wanted:
                    return reply
                if reply.status_code in _TRY_AGAIN and "retry-after" in reply.headers:
                    _count(self._history.refused, f"{reply.status_code} {reply.json().get('code')}")
                    pause = float(reply.headers["retry-after"]) if patient else PAUSE
                else:
                    self._history.unexpected_answers.append(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
            await sleep(pause * self._draw.uniform(1.0, 1.5))


@asynccontextmanager
async def open_chaos_client(gateways: Sequence[str], history: History) -> AsyncGenerator[Client]:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_client(connections=CONNECTIONS)) for _ in range(POOLS)]
        yield Client(pools, gateways, history)


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1
