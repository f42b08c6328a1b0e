"""The result store in Redis, whichever client library carries the commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, final
from uuid import uuid4

import structlog
from anyio import AsyncContextManagerMixin
from typing_extensions import override

from hub.errors import Undecodable
from hub.grouping import Grouped
from hub.ports import Absent, ResultStore, Start, StoreStatistics
from hub.redis.client import RedisClient
from hub.redis.eviction import warn_of_eviction
from hub.redis.link import Command, LinkOpener, Reply
from hub.redis.script import Script
from hub.stores import redis_commands as commands, redis_replies as replies
from hub.stores.options import StoreOptions
from hub.stores.started import StartedTasks
from hub.stores.waiters import Waiters
from hub.supervision import unwrapped
from hub.task import Outcome, Task, TaskRecord
from hub.vocabulary import InstanceId, TaskId

_log: Final = structlog.get_logger("hub.stores")


@final
class RedisStore(ResultStore, AsyncContextManagerMixin):
    """Task records as hashes in Redis; see `hub.stores.lua` for the keys and `hub.stores.redis_commands` for the rest.

    One link carries everything, this process's wake-ups included. A record knows who wants to hear of it: the reply
    channel of its task, and every process that has asked with `changed`. So several gateways may wait for one task.
    After a lost link each waiting call reads its record again.
    """

    def __init__(self, links: LinkOpener, options: StoreOptions) -> None:
        self._clock = options.clock
        self._channel = f"hub:wake:{uuid4()}"
        self._waiters = Waiters()
        self._started = StartedTasks()
        self._dropped = 0
        self._commands = 0
        self._client = RedisClient(
            links,
            channel=self._channel,
            on_messages=self._heard,
            on_linked=self._waiters.wake_all,
            patience=options.patience,
        )
        self._watched = Grouped(self._watch, name=f"watched records {self._channel}")

    @property
    @override
    def channel(self) -> str:
        return self._channel

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters once the server has answered.

        Raises:
            LinkLost: It cannot be reached.
            ConfigurationError: It does not accept the credentials, or the client library cannot run on this backend.
        """
        with unwrapped():
            async with self._client, self._watched:
                await warn_of_eviction(self._client)
                yield self

    @override
    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        told = await self._run(commands.CREATE, commands.create(tasks, now=self._clock()), tasks)
        return replies.answers(told, _ids(tasks), replies.created)

    @override
    async def withdraw(self, task_ids: Sequence[TaskId]) -> None:
        told = await self._run(commands.WITHDRAW, commands.withdraw(task_ids), task_ids)
        replies.answers(told, task_ids, replies.counted)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId) -> Sequence[Start]:
        told = await self._run(commands.START, commands.start(tasks, instance, now=self._clock()), tasks)
        self._started.remember(tasks)
        return replies.answers(told, _ids(tasks), replies.started)

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        finish = commands.finish(outcomes, self._started.identities, now=self._clock())
        told = await self._run(commands.FINISH, finish, outcomes)
        task_ids = [outcome.task_id for outcome in outcomes]
        counted = replies.answers(told, task_ids, replies.counted)
        self._started.forget(task_ids)
        self._dropped += counted.count(False)
        return counted

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Absent]:
        told = await self._run(commands.FETCH, commands.fetch(task_ids), task_ids)
        return replies.answers(told, task_ids, replies.fetched)

    @override
    async def changed(self, task_id: TaskId, *, after: int, until_terminal: bool = False) -> TaskRecord | Absent:
        with self._waiters.waiting(task_id, after=after, until_terminal=until_terminal) as waiter:
            while True:
                found = await self._watched(task_id)
                if isinstance(found, Undecodable):
                    raise found
                if waiter.accepts(found):
                    return found
                await waiter.woken()

    @override
    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            connected=self._client.connected,
            waiting=len(self._waiters),
            flushes=self._client.round_trips,
            commands=self._commands,
            dropped_outcomes=self._dropped,
            reconnects=max(0, self._client.links_opened - 1),
        )

    async def _watch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Absent | Undecodable]:
        told = await self._run(commands.FETCH, commands.fetch(task_ids, channel=self._channel), task_ids)
        return replies.answers(told, task_ids, replies.fetched_or_why_not)

    async def _run(self, script: Script, calls: Sequence[Command], group: Sequence[object]) -> Sequence[Reply]:
        self._commands += len(group)
        return await self._client.run(script, calls) if calls else ()

    def _heard(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            try:
                self._waiters.changed(*replies.announcement(message))
            except Undecodable as error:
                _log.warning("strange wake-up", channel=self._channel, reason=error.reason)


def _ids(tasks: Sequence[Task]) -> list[TaskId]:
    return [task.id for task in tasks]
