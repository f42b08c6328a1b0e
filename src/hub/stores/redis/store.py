"""The result store in Redis, whichever client library carries the commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Self, TypeVar, final
from uuid import uuid4

import structlog
from anyio import (
    AsyncContextManagerMixin,
    create_task_group,
    move_on_after,
)
from anyio.lowlevel import checkpoint_if_cancelled
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import AttemptLog, ExponentialBackoff, retrying
from hub.errors import HubError, Undecodable
from hub.ports.result_store import (
    PAGE_BYTES,
    PAGE_CHUNKS,
    Adoption,
    ChunkAppend,
    ChunkPage,
    ChunkPosition,
    Missing,
    ProgressReport,
    RecentTasks,
    ReleasedTask,
    ResultStore,
    Start,
    StoreStatistics,
)
from hub.redis.budget import ByteBudget
from hub.redis.client import RedisClient
from hub.redis.connection import Command, Connector, Reply
from hub.redis.eviction import warn_of_eviction
from hub.redis.script import Script
from hub.stores.options import StoreOptions
from hub.stores.orphans import orphan_outcomes
from hub.stores.recent import Listed, recent_tasks
from hub.stores.redis import commands, replies
from hub.stores.redis.lists import PresentRun, RedisLists
from hub.stores.redis.replies import Appended, Large
from hub.stores.redis.tails import Tails
from hub.stores.running import FinishCall, RunningTasks, StartedRun
from hub.stores.timing import OperationTimer
from hub.stores.waiters import Change, Waiters
from hub.task import Outcome, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState

OfTask = TypeVar("OfTask", Outcome, ReleasedTask, ChunkAppend)

RESYNC_BACKOFF: Final = ExponentialBackoff(initial=0.05, maximum=1.0)
"""Between two attempts to look up the runs of this process: a run that is not needed any more should stop within a second."""

SMALL: Final = commands.SMALL

IN_FLIGHT: Final = 16 * 1024 * 1024
"""Bytes of large outcomes and of chunks on their way at once: what a slow connection transfers within `read_timeout`."""

LAST_WRITE: Final = 1.0
"""Seconds that the end of the block waits for the lists: one round trip to a slow server. They can do without it."""

_log: Final = structlog.get_logger("hub.stores")


@final
class RedisStore(ResultStore, AsyncContextManagerMixin):
    """Task records as hashes in Redis; see `hub.stores.redis.lua` for the keys and `hub.stores.redis.commands` for the rest.

    One connection carries all commands, and another one the notifications. What carries a large outcome to a reader, or many
    bytes of chunks, has a third one, on which `IN_FLIGHT` bytes are on their way at most, so that it delays nothing else.

    A record holds the channels that are notified of its changes, one for every process that has read it in
    `wait_for_change`, so several gateways may wait for one task. It also holds the channels that are notified when the task
    ends: the reply channel of the task, and those of the processes that run it. The first wait for the end of a task that
    this process has created with its own channel begins without a read, because its end is noted from the start. Small
    chunks come with the notification of their append to the processes that read the stream (`hub.stores.redis.tails`).
    After a lost connection each waiting
    call reads its record again, and so does this store for each of its runs.
    """

    def __init__(self, connector: Connector, options: StoreOptions) -> None:
        self._clock = options.clock
        self._channel = f"hub:wake:{uuid4()}"
        self._waiters = Waiters()
        self._tails = Tails()
        self._running = RunningTasks[Task]()
        self._resync_needed = False  # whether a run may have ended unnoticed
        self._resync_requested = Notifier()
        self._dropped = 0
        self._commands = 0
        self._calls = OperationTimer(options.buckets)
        self._client = RedisClient(
            connector,
            channel=self._channel,
            on_messages=self._on_messages,
            on_connected=self._connected,
            timeout=options.timeout,
            probe=commands.PROBE,
        )
        self._large = RedisClient(connector, timeout=options.timeout)
        self._budget = ByteBudget(IN_FLIGHT)
        self._lists = RedisLists(self._client, self._calls, period=options.listing, runs=self._runs)
        self._watched = Batcher(self._watch, name=f"watched records {self._channel}")

    @property
    @override
    def channel(self) -> str:
        return self._channel

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Enters once the server has answered.

        Raises:
            ConnectionLost: It cannot be reached.
            ConfigurationError: It does not accept the credentials, or the client library cannot run on this backend.
        """
        with collapse_exception_group():
            async with self._client, self._large, self._watched, create_task_group() as tg:
                tg.start_soon(self._resync_when_needed, name=f"hub.store runs {self._channel}")
                tg.start_soon(self._lists.work, name=f"hub.store lists {self._channel}")
                try:
                    await warn_of_eviction(self._client)
                    yield self
                    with move_on_after(LAST_WRITE):
                        await self._lists.write()
                finally:
                    tg.cancel_scope.cancel("store closed")

    @override
    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        expected = [task for task in tasks if task.reply_channel == self._channel]
        for task in expected:
            self._waiters.expect(task)
        try:
            raw = await self._run("create", commands.CREATE, commands.create(tasks, now=self._clock()), tasks)
        except BaseException:
            for task in expected:
                self._waiters.forget(task.id)
            raise
        found: list[TaskRecord | None] = []
        for task, answer in zip(tasks, replies.answers(raw, _ids(tasks), replies.created), strict=True):
            if answer is not None:
                self._waiters.forget(task.id)
            there = await self._whole(task.id, answer) if isinstance(answer, Large) else answer
            found += await self.create([task]) if isinstance(there, Missing) else [there]  # it has expired in between
        if children := [task for task in tasks if task.ancestors]:
            await self._run("create", commands.PARENT, commands.parent(children), children)
        return found

    @override
    async def confirm(self, tasks: Sequence[Task]) -> None:
        raw = await self._run("confirm", commands.CONFIRM, commands.confirm(tasks, now=self._clock()), tasks)
        replies.answers(raw, _ids(tasks), replies.affirmed)

    @override
    async def withdraw(self, tasks: Sequence[Task]) -> None:
        raw = await self._run("withdraw", commands.WITHDRAW, commands.withdraw(tasks), tasks)
        replies.answers(raw, _ids(tasks), replies.affirmed)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        now = self._clock()
        command = partial(commands.start, instance=instance, channel=self._channel, attempts=attempts, now=now)
        task_ids = _ids(tasks)
        with self._running.starting(task_ids) as call:
            connection = self._client.connections_opened
            raw = await self._run("start", commands.START, command(tasks), tasks)
            answers = replies.answers(raw, task_ids, replies.started)
            lost = [task for task, answer in zip(tasks, answers, strict=True) if answer is None]
            if lost:
                raw = await self._run("start", commands.START, command(lost, described=True), lost)
                written = iter(replies.answers(raw, _ids(lost), replies.started))
                answers = [next(written) if answer is None else answer for answer in answers]
            starts = [answer for answer in answers if answer is not None]
            self._running.begun(instance, zip(task_ids, tasks, strict=True), starts, call, now)
            if (
                connection != self._client.connections_opened
            ):  # the next connection looked up the runs before this one was known
                self._request_resync()
        return starts

    @override
    async def release(self, runs: Sequence[ReleasedTask]) -> Sequence[bool]:
        numbers = await self._on_records(runs, self._release)
        self._running.released(runs)
        return [number != 0 for number in numbers]  # a missing record does not count as finished

    @override
    async def report(self, reports: Sequence[ProgressReport]) -> None:
        raw = await self._run("report", commands.REPORT, commands.report(reports, now=self._clock()), reports)
        replies.answers(raw, [report.task_id for report in reports], replies.affirmed)

    @override
    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        return await self._running.next_ended(instance)

    @override
    async def reset(self, tasks: Sequence[Task]) -> Sequence[bool]:
        raw = await self._run("reset", commands.RESET, commands.reset(tasks, now=self._clock()), tasks)
        return replies.answers(raw, _ids(tasks), replies.affirmed)

    @override
    async def adopt(self, children: Sequence[Task]) -> Sequence[Adoption]:
        raw = await self._run("adopt", commands.ADOPT, commands.adopt(children), children)
        return replies.answers(raw, _ids(children), replies.adopted)

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        numbers = await self._finish_all(outcomes)
        counted = [number > 0 for number in numbers]
        self._dropped += counted.count(False)
        return counted

    @override
    async def append(self, appends: Sequence[ChunkAppend]) -> Sequence[bool]:
        numbers = await self._on_records(appends, self._append)
        return [number > 0 for number in numbers]

    @override
    async def chunks(
        self,
        task_id: TaskId,
        after: ChunkPosition | None = None,
        *,
        limit: int = PAGE_CHUNKS,
        limit_bytes: int = PAGE_BYTES,
        beyond: int | None = None,
    ) -> ChunkPage | Missing:
        with self._waiters.waiting(task_id, after=beyond or 0, until_terminal=False) as waiter:
            if beyond is None:
                return await self._page(task_id, after, limit, limit_bytes, waits=False)
            waited = False
            try:
                while True:
                    tail = self._tails.find(task_id, after)
                    if tail is None or after is None:
                        begun = self._tails.begin(task_id)
                        page = await self._page(task_id, after, limit, limit_bytes, waits=True)
                        self._tails.synchronize(task_id, begun, page)
                        if isinstance(page, Missing) or page.chunks or page.revision > beyond:
                            return page
                    elif tail.end > after.number or tail.revision > beyond:
                        if not waited:
                            await checkpoint_if_cancelled()
                        tail.drop_until(after.number)
                        return tail.page(after.number, limit, limit_bytes)
                    await waiter.wait()
                    waited = True
            except BaseException:  # a wait that was given up may have missed something: the next one begins with a read
                self._tails.remove(task_id)
                raise

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing]:
        raw = await self._run("fetch", commands.FETCH, commands.fetch(task_ids), task_ids)
        answers = replies.answers(raw, task_ids, replies.fetched)
        return [
            await self._whole(task_id, answer) if isinstance(answer, Large) else answer
            for task_id, answer in zip(task_ids, answers, strict=True)
        ]

    @override
    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        async def read(below: str, count: int) -> Sequence[Listed]:
            return await self._lists.read(states, model, below, count)

        async def fetch(task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing | Undecodable]:
            raw = await self._run("fetch", commands.FETCH, commands.fetch(task_ids), task_ids)
            answers = replies.answers(raw, task_ids, replies.fetched_or_why_not)
            return [
                await self._whole(task_id, answer) if isinstance(answer, Large) else answer
                for task_id, answer in zip(task_ids, answers, strict=True)
            ]

        drop = partial(self._lists.drop, model=model)
        return await recent_tasks(before, limit, read=read, fetch=fetch, drop=drop)

    @override
    async def wait_for_change(
        self, task_id: TaskId, *, after: int, until_terminal: bool = False
    ) -> TaskRecord | Missing:
        with self._waiters.waiting(task_id, after=after, until_terminal=until_terminal) as waiter:
            change = waiter.known if waiter.must_read else await waiter.wait()
            while True:
                if change is not None and change.packed and waiter.before is not None:
                    record = replies.announced(change, waiter.before)
                    if record is not None and waiter.accepts(record):
                        return record
                found = await self._watched.submit(task_id)
                if isinstance(found, Undecodable):
                    raise found
                if isinstance(found, Large):
                    found = await self._whole(task_id, found)
                if isinstance(found, Missing) or waiter.accepts(found):
                    return found
                waiter.before = found
                change = await waiter.wait()

    @override
    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            connected=self._client.connected,
            waiting=len(self._waiters),
            flushes=self._client.round_trips + self._large.round_trips,
            commands=self._commands,
            dropped_outcomes=self._dropped,
            reconnects=max(0, self._client.connections_opened - 1),
            refusal=self._client.refusal,
            calls=self._calls.read(),
        )

    async def _release(self, runs: Sequence[ReleasedTask]) -> Sequence[int]:
        raw = await self._run("release", commands.RELEASE, commands.release(runs, now=self._clock()), runs)
        return replies.answers(raw, [run.task_id for run in runs], replies.number)

    async def _append(self, appends: Sequence[ChunkAppend]) -> Sequence[int]:
        numbers: list[int] = []
        for group in _groups(appends):
            append, size = commands.append(group, now=self._clock()), sum(map(_size, group))
            if size > SMALL:
                async with self._budget.taken(size):
                    raw = await self._run("append", commands.APPEND, append, group, client=self._large)
            else:
                raw = await self._run("append", commands.APPEND, append, group)
            numbers += replies.answers(raw, [each.task_id for each in group], replies.number)
        return numbers

    async def _page(
        self, task_id: TaskId, after: ChunkPosition | None, limit: int, limit_bytes: int, *, waits: bool
    ) -> ChunkPage | Missing:
        channel = self._channel if waits else ""
        read = partial(commands.chunks, task_id, after, limit=limit, limit_bytes=limit_bytes, channel=channel)
        found = await self._read_page(task_id, read(), max(SMALL, limit_bytes))
        if isinstance(found, Large):  # a single chunk with more bytes
            found = await self._read_page(task_id, read(whole=True), found.size)
        if isinstance(found, Large):
            raise Undecodable(f"task record {task_id}", repr(found))
        return found

    async def _read_page(self, task_id: TaskId, read: Sequence[Command], size: int) -> ChunkPage | Missing | Large:
        if size <= SMALL:
            (raw,) = await self._run("chunks", commands.CHUNKS, read, [task_id])
        else:
            async with self._budget.taken(size):
                (raw,) = await self._run("chunks", commands.CHUNKS, read, [task_id], client=self._large)
        return replies.page(task_id, raw)

    async def _finish_all(self, outcomes: Sequence[Outcome]) -> Sequence[int]:
        """Stores outcomes, and ends the children of those tasks that they end."""
        families: list[tuple[Outcome, Sequence[TaskId]]] = []
        with self._running.finishing(outcomes) as call:
            try:
                numbers = await self._on_records(outcomes, partial(self._finish, call, families))
            except BaseException:
                self._request_resync()  # their tasks may have ended all the same
                raise
        for outcome, children in families:
            await self._end_children(outcome, children)
        return numbers

    async def _end_children(self, parent: Outcome, children: Sequence[TaskId]) -> None:
        raw = await self._run("fetch", commands.FETCH, commands.fetch(children), children)
        found = replies.answers(raw, children, replies.fetched_or_why_not)
        records = [record for record in found if isinstance(record, TaskRecord)]  # a large outcome is one of its own
        if orphans := orphan_outcomes(records, parent, self._clock()):
            await self._finish_all(orphans)

    async def _finish(
        self,
        call: FinishCall[Task],
        families: list[tuple[Outcome, Sequence[TaskId]]],
        outcomes: Sequence[Outcome],
    ) -> Sequence[int]:
        alone = [self._running.is_sole_run(outcome, call) for outcome in outcomes]
        finish = commands.finish(outcomes, alone, channel=self._channel, now=self._clock())
        raw = await self._run("finish", commands.FINISH, finish, outcomes)
        answers = replies.answers(raw, [outcome.task_id for outcome in outcomes], replies.finished)
        for outcome, answer in zip(outcomes, answers, strict=True):
            if answer.children:
                families.append((outcome, answer.children))
            if answer.model and outcome.state is not TaskState.SUCCEEDED:
                self._lists.ended(outcome, answer.model, answer.lifetime_ms)
        await self._lists.write()
        return [answer.number for answer in answers]

    async def _on_records(
        self, items: Sequence[OfTask], carry_out: Callable[[Sequence[OfTask]], Awaitable[Sequence[int]]]
    ) -> Sequence[int]:
        """Carries `items` out; once more, on records written anew, those of tasks that were started here and vanished."""
        numbers = list(await carry_out(items))
        vanished = [index for index, number in enumerate(numbers) if number == replies.VANISHED]
        if vanished and (runs := self._running.find(items[index].task_id for index in vanished)):
            await self._resync(runs)
            known = {run.task_id for run in runs}
            again = [index for index in vanished if items[index].task_id in known]
            for index, number in zip(again, await carry_out([items[index] for index in again]), strict=True):
                numbers[index] = number
        return numbers

    async def _resync(self, runs: Sequence[StartedRun[Task]]) -> None:
        """Writes these runs to the server if it has lost them, and finds those whose tasks have ended meanwhile."""
        resync = commands.resync(runs, channel=self._channel, now=self._clock())
        raw = await self._run("resync", commands.RESYNC, resync, runs)
        task_ids = [run.task_id for run in runs]
        for task_id, ended in zip(task_ids, replies.answers(raw, task_ids, replies.ended), strict=True):
            if ended:
                self._running.ended(task_id)

    async def _resync_when_needed(self) -> None:
        """Looks up the runs of this process each time that a notification may have been missed."""
        log = AttemptLog("runs", failing="runs not looked up, asking the store again")
        while True:
            await self._resync_requested.wait_for(lambda: self._resync_needed)
            async for attempt in retrying(on=HubError, backoff=RESYNC_BACKOFF, on_retry=log.on_retry):
                with attempt:
                    self._resync_needed = False
                    await self._resync(self._running.runs())
            log.succeeded()

    def _request_resync(self) -> None:
        self._resync_needed = True
        self._resync_requested.notify()

    def _runs(self) -> Iterable[PresentRun]:
        return ((run.task_id, run.started_at, run.note.model) for run in self._running.runs())

    def _connected(self) -> None:
        self._tails.clear()
        self._waiters.wake_all()
        self._lists.connected()
        self._request_resync()

    async def _whole(self, task_id: TaskId, large: Large) -> TaskRecord | Missing:
        """A record with a large outcome."""
        async with self._budget.taken(large.size):
            fetch = commands.fetch([task_id], channel=self._channel, whole=True)
            raw = await self._run("fetch", commands.FETCH, fetch, [task_id], client=self._large)
        (found,) = replies.answers(raw, [task_id], replies.whole)
        return found

    async def _watch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing | Large | Undecodable]:
        raw = await self._run("watch", commands.FETCH, commands.fetch(task_ids, channel=self._channel), task_ids)
        return replies.answers(raw, task_ids, replies.fetched_or_why_not)

    async def _run(
        self,
        operation: str,
        script: Script,
        calls: Sequence[Command],
        group: Sequence[object],
        *,
        client: RedisClient | None = None,
    ) -> Sequence[Reply]:
        if not calls:
            return ()
        self._commands += len(group)
        with self._calls.timed(operation, len(group)):
            return await (client or self._client).run(script, calls)

    def _on_messages(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            try:
                if message.startswith(replies.APPENDED):
                    self._on_chunks(replies.appended(message))
                    continue
                change = replies.announcement(message)
            except Undecodable as error:
                _log.warning("a notification that cannot be read", channel=self._channel, reason=error.reason)
                continue
            self._tails.changed(change.task_id, change.revision if change.state is not None else 0)
            self._waiters.changed(change)
            if change.state is not None and change.state.terminal:
                self._running.ended(change.task_id)

    def _on_chunks(self, appends: Sequence[Appended]) -> None:
        for task_id, revision, attempt, first, bodies in appends:
            self._tails.extend(task_id, revision, attempt, first, bodies)
            self._waiters.changed(Change(task_id, revision, TaskState.RUNNING))


def _size(append: ChunkAppend) -> int:
    return sum(map(len, append.bodies))


def _groups(appends: Sequence[ChunkAppend]) -> Iterator[Sequence[ChunkAppend]]:
    """Appends that are carried out together: those of one task in the same group or in order, few bytes in each group."""
    group: list[ChunkAppend] = []
    size = 0
    for each in appends:
        group.append(each)
        size += _size(each)
        if size >= commands.CHUNK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _ids(tasks: Sequence[Task]) -> list[TaskId]:
    return [task.id for task in tasks]
