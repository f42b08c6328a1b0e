"""A task as a stream of events: as it is when the stream begins, and again at each change, until it has ended."""

from __future__ import annotations

from typing import Final, final

import msgspec
from anyio import sleep_forever

from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConnectionLost, HubError
from hub.gateway.models.codecs import CodecResolver
from hub.gateway.tasks.results import task_body
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.http.problems import encoded_members, members_of
from hub.http.sse import comment, event, retry
from hub.http.streaming import RequestBody, Write
from hub.task import TaskRecord

HEARTBEAT: Final = 15.0
"""Seconds of silence at most: less than what proxies take for a dead connection."""

RECONNECT: Final = 1.0
"""Seconds that a client whose stream was cut waits before it connects again."""


@final
class TaskEvents:
    """Writes an event `task` whose data is the task and whose id is its revision, or `gone` once there is no such task.

    A client that reads slowly, or a task that changes fast, makes that some changes are left out; the last one never is.
    While the store is out of reach the stream goes on, with a comment at each try: a client that got an error for its next
    connection would give up. When the server drains the stream ends, and the client finds the next server.

    Args:
        dispatch: Knows of changes.
        polls: Bounds the waits, and says when the server drains.
        first: The task as it is now.
        seen: The revision that the client has already.
        codecs: Read the response.
    """

    def __init__(
        self,
        dispatch: TaskService,
        polls: LongPollRegistry,
        first: TaskRecord,
        *,
        seen: int | None,
        codecs: CodecResolver,
    ) -> None:
        self._dispatch = dispatch
        self._polls = polls
        self._first = first
        self._seen = seen
        self._codecs = codecs

    async def __call__(self, _body: RequestBody, write: Write) -> None:
        record = self._first
        await write(retry(RECONNECT))
        if record.revision != self._seen:
            await write(await self._event(record))
        delays = ExponentialBackoff().intervals()
        while not (record.state.terminal or self._polls.draining):
            try:
                found = await self._dispatch.wait(record, HEARTBEAT, after=record.revision)
            except ConnectionLost:
                await write(comment("the result store is out of reach"))
                with self._polls.hold(next(delays)):
                    await sleep_forever()
            except HubError as gone:  # or whatever is stored cannot be read any more
                await write(event("gone", encoded_members(members_of(gone))))
                break
            else:
                await write(comment("no news") if found.revision == record.revision else await self._event(found))
                record = found
                delays = ExponentialBackoff().intervals()

    async def _event(self, record: TaskRecord) -> bytes:
        body = await task_body(record, self._codecs)
        return event("task", msgspec.json.encode(body), number=record.revision)
