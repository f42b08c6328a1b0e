"""A client that wants its work done whatever happens: it repeats what was not answered, under the same key."""

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
from tests.chaos.ledger import Entry, Ledger, View
from tests.chaos.plan import Job
from tests.chaos.stage import MODEL

TIMEOUT: Final = 15.0
"""Seconds for one answer beyond what the request itself asks to wait; more than `publish_timeout`."""

LONG_POLL: Final = 20
"""Seconds that a follower asks to wait."""

PAUSE: Final = 0.2
"""Seconds before a request that broke is sent again, to the other gateway."""

POOLS: Final = 8
CONNECTIONS: Final = 32
"""In each pool. A request looks at every connection of its pool, so one large pool would be most of the client's work."""

_TRY_AGAIN: Final = frozenset({429, 503})
_UNKNOWN: Final = frozenset({404, 410})


@final
class Client:
    """Talks to several gateways in turn and writes what they say into a ledger."""

    def __init__(self, pools: Sequence[AsyncClient], gateways: Sequence[str], ledger: Ledger) -> None:
        self._pools = itertools.cycle(pools)
        self._gateways = itertools.cycle(gateways)
        self._ledger = ledger
        self._draw = random.Random()

    async def submit(self, job: Job, *, patient: bool = True) -> Entry:
        """Returns once the task is accepted; asks over and over unless it is `patient`, as `Retry-After` says."""
        entry = Entry(job=job)
        self._ledger.entries.append(entry)
        headers = {"Idempotency-Key": job.key}
        if job.timeout is not None:
            headers["Hub-Timeout"] = f"{job.timeout}"
        for number in range(2 if job.repeated else 1):
            reply = await self._ask(
                "POST",
                f"/v1/models/{MODEL}/tasks",
                {202},
                headers=headers,
                json={"messages": job.message},
                patient=patient,
            )
            entry.accepted(reply.json()["id"], time.time())
            if number == 0:
                self._ledger.accepted += 1
        return entry

    async def cancel(self, entry: Entry) -> None:
        """Cancels the task when its time has come. It may have ended by then."""
        assert entry.job.cancel_after is not None
        await sleep(entry.job.cancel_after)
        reply = await self._ask("DELETE", f"/v1/tasks/{entry.ids[0]}", {200, 409, *_UNKNOWN})
        if reply.status_code in _UNKNOWN:
            entry.missing += 1
        elif reply.json()["state"] == "cancelled":
            entry.cancelled_at = time.time()

    async def follow(self, entry: Entry) -> None:
        """Returns once the task has ended, and notes how."""
        while entry.first is None:
            entry.first = await self._look(entry, wait=LONG_POLL)
        self._ledger.ended += 1

    async def look_again(self, entry: Entry) -> None:
        """Notes how the task has ended, as it is told now; nothing if it has not."""
        entry.last = await self._look(entry)

    async def _look(self, entry: Entry, wait: int = 0) -> View | None:
        """The task if it has ended, else `None`."""
        query = f"?wait={wait}" if wait else ""
        reply = await self._ask("GET", f"/v1/tasks/{entry.ids[0]}{query}", {200, *_UNKNOWN}, wait=wait)
        if reply.status_code in _UNKNOWN:
            entry.missing += 1
            await sleep(PAUSE)
            return None
        view = View.of(reply.json())
        return view if view.terminal else None

    async def _ask(
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
        """Sends a request until it gets one of the `wanted` answers, to each gateway in turn."""
        while True:
            pause = PAUSE
            try:
                with fail_after(wait + TIMEOUT):
                    url = next(self._gateways) + path
                    reply = await next(self._pools).request(method, url, headers=headers, json=json)
            except (TransportError, TimeoutError) as error:
                _count(self._ledger.broken, type(error).__name__)
            else:
                if reply.status_code in wanted:
                    return reply
                if reply.status_code in _TRY_AGAIN and "retry-after" in reply.headers:
                    _count(self._ledger.refused, f"{reply.status_code} {reply.json().get('code')}")
                    pause = float(reply.headers["retry-after"]) if patient else PAUSE
                else:
                    self._ledger.surprises.append(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
            await sleep(pause * self._draw.uniform(1.0, 1.5))


@asynccontextmanager
async def open_chaos_client(gateways: Sequence[str], ledger: Ledger) -> AsyncGenerator[Client]:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(open_client(connections=CONNECTIONS)) for _ in range(POOLS)]
        yield Client(pools, gateways, ledger)


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1
