"""Submits tasks, and finds, awaits, lists and cancels them. Nothing here depends on HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final, Self, TypeVar, final

import structlog
from anyio import AsyncContextManagerMixin, current_time, move_on_at, sleep_forever
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.concurrency.retrying import ExponentialBackoff, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost, Undecodable
from hub.gateway.errors import IdempotencyConflict, SubmitInProgress
from hub.gateway.tasks.backpressure import MeanRunTimes
from hub.gateway.tasks.congestion import Congestion
from hub.gateway.tasks.errors import TaskAlreadyFinished, TaskRecordExpired, UnknownTask
from hub.gateway.tasks.options import SubmitOptions
from hub.http.long_polling import LongPollRegistry
from hub.ports.broker import Broker
from hub.ports.result_store import ChunkPage, ChunkPosition, Missing, RecentTasks, ResultStore
from hub.submission.outcomes import SubmitResult, cancelled_outcome, expired_outcome, expiry_time
from hub.submission.publisher import TaskPublisher
from hub.submission.spans import publish_span
from hub.task import Outcome, Task, TaskRecord, without_big_body
from hub.types import (
    Fingerprint,
    ModelName,
    TaskId,
    TaskState,
    WallClock,
    idempotent_task_id,
    new_task_id,
    parse_task_id,
    wall_clock,
)

R = TypeVar("R", TaskRecord, ChunkPage)

CONCURRENT_BATCHES: Final = 4
"""Batches of look-ups, and of outcomes, under way at once."""

WAIT_BACKOFF: Final = ExponentialBackoff(initial=0.05, maximum=1.0)
"""Between the attempts of a client's wait to reach the store; see `hub.redis.client.BACKOFF`."""

_log = structlog.get_logger("hub.gateway")


@final
class TaskService(AsyncContextManagerMixin):
    """Submits tasks, returns their records, and ends those that are cancelled, or late without a run that ends them.

    Args:
        broker: For the messages.
        store: For records and outcomes.
        timeout: Seconds that the broker and the store have for one step.
        polls: Bounds the waits.
        congestion: Counts the steps under way.
        clock: Dates the tasks.

    Attributes:
        publisher: Its way to the queues.
        congestion: The steps under way.
        run_times: Mean run times of the models.
        outcomes: Counts the outcomes that tasks got from here, by model and state.
    """

    def __init__(
        self,
        broker: Broker,
        store: ResultStore,
        *,
        timeout: float,
        polls: LongPollRegistry | None = None,
        congestion: Congestion | None = None,
        clock: WallClock = wall_clock,
    ) -> None:
        self.publisher: Final = TaskPublisher(broker, store, timeout=timeout)
        self.congestion: Final = congestion or Congestion()
        self.run_times: Final = MeanRunTimes()
        self.outcomes: Final = Counter[tuple[ModelName, TaskState]]()
        self._store = store
        self._fetches = Batcher(self._fetch_batch, name="fetch", concurrency=CONCURRENT_BATCHES)
        self._finishes = Batcher(store.finish, name="finish", concurrency=CONCURRENT_BATCHES)
        self._timeout = timeout
        self._store_timeout = partial(connection_timeout, "the result store", timeout)
        self._polls = polls or LongPollRegistry()
        self._clock = clock

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self.publisher, self._fetches, self._finishes:
            yield self

    async def submit(
        self, model: ModelName, fingerprint: Fingerprint, body: bytes, options: SubmitOptions, *, waiting: bool = False
    ) -> SubmitResult:
        """Makes a task of a serialized request message; returns once it is accepted, now or by an earlier submit.

        Args:
            model: Whose queue it is sent to.
            fingerprint: The contract that `body` was written for.
            body: The request message, checked already.
            options: The headers of the request.
            waiting: Whether this process will wait for its end, so that its instance publishes that on our channel.

        Raises:
            IdempotencyConflict: An earlier submit under the same key has another body.
            SubmitInProgress: An earlier submit under the same key is neither confirmed nor withdrawn.
            HubError: As `TaskPublisher.publish` says.
        """
        key = options.idempotency_key
        task_id = idempotent_task_id(options.client, model, key) if key else new_task_id()
        with publish_span(model, task_id, options.trace) as trace:
            now = self._clock()
            task = Task(
                id=task_id,
                model=model,
                body=body,
                fingerprint=fingerprint,
                created_at=now,
                deadline=None if options.timeout is None else now + options.timeout,
                result_ttl=options.result_ttl,
                reply_channel=self._store.channel if waiting else "",
                traceparent=trace.traceparent,
                tracestate=trace.tracestate,
                idempotency_key=key,
            )
            earlier = await self.publisher.publish(task)
            if earlier is not None:
                earlier = await self._resolve_earlier(task, earlier)
            return SubmitResult(without_big_body(task), earlier)

    async def get(self, task_id: str) -> TaskRecord:
        """The record of a task as it is now. A task that is late is ended first.

        Raises:
            UnknownTask: There is none of this id.
            TaskRecordExpired: There was one, and its record has expired.
            Undecodable: The stored record cannot be decoded.
            ConnectionLost: The store is out of reach.
        """
        known = _parsed(task_id)
        with self.congestion.step(), self._store_timeout():
            record = _present(known, await self._fetches.submit(known))
            if self._clock() >= expiry_time(record):
                record = await self._end(record, expired_outcome(record, self._clock()))
        self.run_times.observe(record)
        return record

    async def wait(self, task: TaskRecord | SubmitResult, seconds: float, *, after: int | None = None) -> TaskRecord:
        """The record of a task once it has ended, or after `seconds` as it is by then.

        Args:
            task: As it was last seen.
            seconds: How long to wait.
            after: Return already when the revision is another one than this.

        Raises:
            HubError: As `get` says.
        """
        deadline = current_time() + seconds
        while True:
            time_left = deadline - current_time()
            until_late = expiry_time(task) - self._clock()
            if time_left > 0:
                with self._polls.wait_scope(min(time_left, max(0.0, until_late))):
                    changed = await self._store.wait_for_change(task.id, after=after or 0, until_terminal=after is None)
                    record = _present(task.id, changed)
                    self.run_times.observe(record)
                    return record
            task = await self.get(task.id)  # which ends it if it is late
            over = not 0 < until_late < time_left or self._polls.draining
            if over or task.state.terminal or (after is not None and task.revision > after):
                return task

    async def wait_reconnecting(
        self, task: TaskRecord | SubmitResult, seconds: float, *, after: int | None = None
    ) -> TaskRecord:
        """As `wait`, over lost connections to the store: each is followed by another attempt until `seconds` are over.

        Raises:
            HubError: As `get` says; `ConnectionLost` after `seconds`, or when the server drains.
        """
        deadline = current_time() + seconds
        try:
            return await self.wait(task, seconds, after=after)  # what follows costs 5 us
        except ConnectionLost as lost:
            return await self._wait_again(lost, task, deadline, after)

    async def _wait_again(
        self, lost: ConnectionLost, task: TaskRecord | SubmitResult, deadline: float, after: int | None
    ) -> TaskRecord:
        """Waits on after an attempt that has failed with `lost`."""

        def retried(error: Exception) -> bool:
            return isinstance(error, ConnectionLost) and current_time() < deadline and not self._polls.draining

        async def pause(delay: float) -> None:
            with self._polls.wait_scope(min(delay, deadline - current_time())):
                await sleep_forever()

        if not retried(lost):
            raise lost
        await pause(next(WAIT_BACKOFF.intervals()))
        return await retrying(on=retried, backoff=WAIT_BACKOFF, sleep=pause).call(
            lambda: self.wait(task, max(0.0, deadline - current_time()), after=after)
        )

    async def chunks(
        self, task: TaskRecord | SubmitResult, after: ChunkPosition | None, *, beyond: int | None, seconds: float
    ) -> ChunkPage | None:
        """The next chunks of a streaming task, or its state after a change; see `ResultStore.chunks`.

        Args:
            task: As it was last seen.
            after: The position after which chunks are wanted.
            beyond: The revision that was seen; `None`: do not wait.
            seconds: How long to wait. Shorter when the task is late by then, so that `get` ends it.

        Returns:
            `None` when nothing has changed, or the server drains.

        Raises:
            UnknownTask, TaskRecordExpired: The record is gone.
            Undecodable: It cannot be decoded.
            ConnectionLost: The store is out of reach.
        """
        if beyond is None:
            with self._store_timeout():
                return _found(task.id, await self._store.chunks(task.id, after))
        page: ChunkPage | None = None
        with self._polls.wait_scope(min(seconds, max(0.0, expiry_time(task) - self._clock()))):
            page = _found(task.id, await self._store.chunks(task.id, after, beyond=beyond))
        return page  # noqa: RET504 - none when the wait was over first

    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        """The newest tasks in one of these states; see `ResultStore.recent`. Tasks that are late are ended first.

        Raises:
            ConnectionLost: The store is out of reach.
        """
        with self._store_timeout():
            found = await self._store.recent(states, model=model, before=before, limit=limit)
            records: list[TaskRecord] = []
            for record in found.records:
                with suppress(TaskRecordExpired, UnknownTask):
                    late = self._clock() >= expiry_time(record)
                    records.append(await self._end(record, expired_outcome(record, self._clock())) if late else record)
        return replace(found, records=[record for record in records if record.state in states])

    async def cancel(self, task_id: str) -> TaskRecord:
        """Ends a task as cancelled: a waiting task never runs, and the instance of a running one stops it.

        Returns:
            The cancelled task; also when it was cancelled before.

        Raises:
            TaskAlreadyFinished: It has ended otherwise.
            HubError: As `get` says.
        """
        record = await self.get(task_id)
        if not record.state.terminal:
            with self._store_timeout():
                record = await self._end(record, cancelled_outcome(record, self._clock()))
        if record.state is not TaskState.CANCELLED:
            raise TaskAlreadyFinished(record.id, record.state)
        return record

    async def _fetch_batch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing | Undecodable]:
        """The records of a batch; a record that cannot be decoded is an error of its own caller only."""
        try:
            return await self._store.fetch(task_ids)
        except Undecodable as error:
            if len(task_ids) == 1:
                return [error]
        return [(await self._fetch_batch([task_id]))[0] for task_id in task_ids]

    async def _end(self, record: TaskRecord, outcome: Outcome) -> TaskRecord:
        """Stores this outcome unless the task has one; returns the record with the one that counts."""
        if await self._finishes.submit(outcome):
            self.outcomes[record.model, outcome.state] += 1
            _log.info("task ended by the gateway", task=record.id, model=record.model, state=outcome.state.value)
        return _present(record.id, await self._fetches.submit(record.id))

    async def _resolve_earlier(self, task: Task, earlier: TaskRecord) -> TaskRecord | None:
        """The record of an earlier submit under the same key once it is accepted.

        `None` if that failed meanwhile, and `task` was accepted in its place.
        """
        deadline = current_time() + self._timeout
        found: TaskRecord | None = earlier
        while found is not None:
            if found.digest != task.digest:
                raise IdempotencyConflict(found.id)
            if not found.pending:
                break
            changed: TaskRecord | Missing | None = None
            with move_on_at(deadline):
                changed = await self._store.wait_for_change(task.id, after=found.revision)
            if changed is None:
                raise SubmitInProgress
            found = await self.publisher.publish(task) if isinstance(changed, Missing) else changed
        return found


def _parsed(task_id: str) -> TaskId:
    known = parse_task_id(task_id)
    if known is None:
        raise UnknownTask(task_id)
    return known


def _present(task_id: TaskId, found: TaskRecord | Missing | Undecodable) -> TaskRecord:
    if isinstance(found, Undecodable):
        raise found
    return _found(task_id, found)


def _found(task_id: TaskId, found: R | Missing) -> R:
    match found:
        case Missing.UNKNOWN:
            raise UnknownTask(task_id)
        case Missing.GONE:
            raise TaskRecordExpired(task_id)
        case there:
            return there
