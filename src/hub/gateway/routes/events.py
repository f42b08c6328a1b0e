"""Streams of events: the changes of a task, and the samples of the overview."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final, final

import msgspec
from anyio import current_time, sleep_forever

from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConnectionLost, HubError
from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.view import OverviewView
from hub.gateway.models.codec import CodecResolver
from hub.gateway.tasks.results import task_body
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.http.problem_document import encoded_members, problem_dict
from hub.http.sse import comment, event, retry
from hub.http.streaming import RequestBody, Write
from hub.task import TaskRecord

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment is sent: less than the time after which proxies close a connection."""

RANK_PERIOD: Final = 10.0
"""Seconds after which models are put in order again, so that they do not change places with each sample."""

RECONNECT: Final = 1.0
"""Seconds that a client waits before it connects again."""


@final
class TaskEvents:
    """Writes an event `task` with the task, whose id is its revision, now and at each change; `gone` once it is gone.

    A client that reads slowly misses some changes, never the last one; so do all clients of a task that changes fast.
    While the store is out of reach the stream goes on, with a comment at each attempt: a client that got an error for
    its next connection would not connect again. When the server drains the stream ends, and the client connects again.

    Args:
        tasks: Waits for changes.
        polls: Bounds the waits, and ends them when the server drains.
        first: The task as it is now.
        seen: The revision that the client has already.
        codecs: Decode the response.
    """

    def __init__(
        self,
        tasks: TaskService,
        polls: LongPollRegistry,
        first: TaskRecord,
        *,
        seen: int | None,
        codecs: CodecResolver,
    ) -> None:
        self._tasks = tasks
        self._polls = polls
        self._first = first
        self._seen = seen
        self._codecs = codecs

    async def write(self, _body: RequestBody, write: Write) -> None:
        """Returns when the task has ended, or the server drains."""
        record = self._first
        await write(retry(RECONNECT))
        if record.revision != self._seen:
            await write(await self._event(record))
        delays = ExponentialBackoff().intervals()
        while not (record.state.terminal or self._polls.draining):
            try:
                found = await self._tasks.wait(record, HEARTBEAT, after=record.revision)
            except ConnectionLost:
                await write(comment("the result store is out of reach"))
                with self._polls.wait_scope(next(delays)):
                    await sleep_forever()
            except HubError as gone:  # or the record cannot be decoded any more
                await write(event("gone", encoded_members(problem_dict(gone))))
                break
            else:
                await write(comment("no change") if found.revision == record.revision else await self._event(found))
                record = found
                delays = ExponentialBackoff().intervals()

    async def _event(self, record: TaskRecord) -> bytes:
        body = await task_body(record, self._codecs)
        return event("task", msgspec.json.encode(body), identity=record.revision)


@final
class OverviewEvents:
    """Writes an event `history`, then an event `sample` for the newest sample and for each one that follows.

    A client that reads slowly misses samples, and always gets the newest. When other models come into its view, a
    `history` of these comes before their first sample; an order by a number is decided every `RANK_PERIOD`.
    """

    def __init__(self, sampler: OverviewSampler, polls: LongPollRegistry, view: OverviewView = OverviewView()) -> None:  # noqa: B008 - immutable
        self._sampler = sampler
        self._polls = polls
        self._view = view

    async def write(self, _body: RequestBody, write: Write) -> None:
        """Returns when the server drains."""
        sampler, view, number, ranked_at = self._sampler, self._view, 0, -inf
        names: Sequence[str] = () if sampler.sample is None else view.names(sampler.sample)
        await write(retry(RECONNECT))
        await write(event("history", await self._history(names)))
        while not self._polls.draining:
            with self._polls.wait_scope(HEARTBEAT):
                await sampler.wait_for_newer(number)
            sample = sampler.sample
            if sample is None or sampler.number == number:
                await write(comment("no change"))
                continue
            number = sampler.number
            if view.is_all:
                await write(event("sample", sampler.encoded, identity=number))
                continue
            if view.sort == "name" or current_time() >= ranked_at + RANK_PERIOD:
                ranked_at, before, names = current_time(), names, view.names(sample)
                if set(names) - set(before):
                    await write(event("history", await self._history(names)))
            await write(event("sample", msgspec.json.encode(view.part(sample, names)), identity=number))

    async def _history(self, names: Sequence[str]) -> bytes:
        """Of the models of the view; if these are all, of those too that are gone since."""
        sample = self._sampler.sample
        return await self._sampler.history(None if sample is None or len(names) == len(sample.models) else names)
