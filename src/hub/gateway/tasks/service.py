"""Tasks on their way: in through the broker, out of the store. Nothing here knows of HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, current_time, fail_after, move_on_after, move_on_at, sleep_forever
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConnectionLost, Undecodable
from hub.gateway.errors import IdempotencyConflict, SubmitInProgress
from hub.gateway.tasks.congestion import Congestion
from hub.gateway.tasks.errors import TaskAlreadyFinished, TaskRecordExpired, UnknownTask
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.outcomes import cancelled, expired, late_at
from hub.gateway.tasks.publisher import TaskPublisher
from hub.gateway.tasks.run_times import MeanRunTimes
from hub.gateway.tasks.spans import publish_span
from hub.gateway.tasks.submit_result import SubmitResult
from hub.http.long_polling import LongPollRegistry
from hub.ports.broker import Broker
from hub.ports.result_store import Missing, RecentTasks, ResultStore
from hub.task import Outcome, Task, TaskRecord
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

LANES: Final = 4
"""Groups of look-ups, and of verdicts, under way at once."""

RETRY: Final = ExponentialBackoff(initial=0.05, maximum=1.0)
"""Between two tries of a client's wait to reach the store; see `hub.redis.client.BACKOFF`."""

_log = structlog.get_logger("hub.gateway")


@final
class TaskService(AsyncContextManagerMixin):
    """Submits tasks, says what became of them, and ends those that are cancelled, or late while nobody runs them.

    Args:
        broker: Where messages go.
        store: Where records and outcomes are.
        timeout: Seconds that the broker and the store have for one step.
        polls: Bounds the waits.
        congestion: Knows what is under way.
        clock: Dates the tasks.

    Attributes:
        congestion: What is under way.
        verdicts: Outcomes that tasks got from here, by model and state.
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
        self.accept: Final = TaskPublisher(broker, store, timeout=timeout)
        self.congestion: Final = congestion or Congestion()
        self.run_times: Final = MeanRunTimes()
        self.verdicts: Final = Counter[tuple[ModelName, TaskState]]()
        self._store = store
        self._fetch = Batcher(self._looked_up, name="fetch", concurrency=LANES)
        self._finish = Batcher(store.finish, name="finish", concurrency=LANES)
        self._timeout = timeout
        self._polls = polls or LongPollRegistry()
        self._clock = clock

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self.accept, self._fetch, self._finish:
            yield self

    async def submit(
        self, model: ModelName, fingerprint: Fingerprint, body: bytes, options: SubmitOptions, *, waiting: bool = False
    ) -> SubmitResult:
        """Makes a task of a serialized request message and returns once it is accepted, now or by an earlier submit.

        Args:
            model: Whose queue it goes to.
            fingerprint: The contract that `body` was written for.
            body: The request message, checked already.
            options: What else the client says of it.
            waiting: Whether somebody here waits for its end, so that its instance says so on our channel.

        Raises:
            IdempotencyConflict: An earlier submit under the same key has another body.
            SubmitInProgress: The fate of an earlier submit under the same key is still open.
            HubError: As `TaskPublisher` says.
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
            earlier = await self.accept(task)
            if earlier is not None:
                earlier = await self._settled(task, earlier)
            return SubmitResult(task, earlier)

    async def find(self, task_id: str) -> TaskRecord:
        """The task as it is now.

        Raises:
            UnknownTask: There is none of this id.
            TaskRecordExpired: There was one, and it has expired.
            Undecodable: What is stored of it is no record of a task.
            ConnectionLost: The store is out of reach.
        """
        known = _parsed(task_id)
        try:
            with self.congestion.step(), fail_after(self._timeout):
                record = _present(known, await self._fetch.submit(known))
                if self._clock() >= late_at(record):
                    record = await self._end(record, expired(record, self._clock()))
        except TimeoutError:
            raise ConnectionLost("the result store", f"it has not answered for {self._timeout:g} s") from None
        self.run_times.seen(record)
        return record

    async def wait(self, task: TaskRecord | SubmitResult, seconds: float, *, after: int | None = None) -> TaskRecord:
        """The task once it has ended, or after `seconds` as it is by then.

        Args:
            task: As it was last seen.
            seconds: How long to wait.
            after: Return already when the revision is another one than this.

        Raises:
            HubError: As `find` says.
        """
        if seconds > 0:
            with self._polls.hold(seconds):
                return await self._until(task, after)
        return await self.find(task.id)

    async def wait_out(
        self, task: TaskRecord | SubmitResult, seconds: float, *, after: int | None = None
    ) -> TaskRecord:
        """The same, also over lost links to the store: each is followed by another try until `seconds` are over.

        Raises:
            HubError: As `find` says; `ConnectionLost` after `seconds`, or when the server drains.
        """
        give_up = current_time() + seconds
        for delay in RETRY.intervals():
            try:
                return await self.wait(task, max(0.0, give_up - current_time()), after=after)
            except ConnectionLost:
                left = give_up - current_time()
                if left <= 0 or self._polls.draining:
                    raise
            with self._polls.hold(min(delay, left)):
                await sleep_forever()
        raise AssertionError  # pragma: no cover - delays never end

    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        """The newest tasks in one of these states; see `ResultStore.recent`. Tasks that nobody ended in time are ended.

        Raises:
            ConnectionLost: The store is out of reach.
        """
        try:
            with fail_after(self._timeout):
                found = await self._store.recent(states, model=model, before=before, limit=limit)
                records: list[TaskRecord] = []
                for record in found.records:
                    with suppress(TaskRecordExpired, UnknownTask):
                        late = self._clock() >= late_at(record)
                        records.append(await self._end(record, expired(record, self._clock())) if late else record)
        except TimeoutError:
            raise ConnectionLost("the result store", f"it has not answered for {self._timeout:g} s") from None
        return replace(found, records=[record for record in records if record.state in states])

    async def cancel(self, task_id: str) -> TaskRecord:
        """Ends a task as cancelled: if it waits it never runs, and if it runs its instance is told to stop.

        Returns:
            The cancelled task; also when it was cancelled before.

        Raises:
            TaskAlreadyFinished: It has ended otherwise.
            HubError: As `find` says.
        """
        record = await self.find(task_id)
        if not record.state.terminal:
            try:
                with fail_after(self._timeout):
                    record = await self._end(record, cancelled(record, self._clock()))
            except TimeoutError:
                raise ConnectionLost("the result store", f"it has not answered for {self._timeout:g} s") from None
        if record.state is not TaskState.CANCELLED:
            raise TaskAlreadyFinished(record.id, record.state)
        return record

    async def _until(self, task: TaskRecord | SubmitResult, after: int | None) -> TaskRecord:
        while True:
            with move_on_after(late_at(task) - self._clock()):
                changed = await self._store.changed(task.id, after=after or 0, until_terminal=after is None)
                record = _present(task.id, changed)
                self.run_times.seen(record)
                return record
            task = await self.find(task.id)  # which ends it if it is late
            if task.state.terminal or (after is not None and task.revision > after):
                return task

    async def _looked_up(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing | Undecodable]:
        """The records of a group; one that cannot be read is no error for those who ask for others."""
        try:
            return await self._store.fetch(task_ids)
        except Undecodable as error:
            if len(task_ids) == 1:
                return [error]
        return [(await self._looked_up([task_id]))[0] for task_id in task_ids]

    async def _end(self, record: TaskRecord, verdict: Outcome) -> TaskRecord:
        """Gives a task this outcome unless it has one; returns it with the one that counts."""
        if await self._finish.submit(verdict):
            self.verdicts[record.model, verdict.state] += 1
            _log.info("task ended by the gateway", task=record.id, model=record.model, state=verdict.state.value)
        return _present(record.id, await self._fetch.submit(record.id))

    async def _settled(self, task: Task, earlier: TaskRecord) -> TaskRecord | None:
        """What an earlier submit under the same key has come to; `None` if it failed and this one took its place."""
        give_up = current_time() + self._timeout
        found: TaskRecord | None = earlier
        while found is not None:
            if found.digest != task.digest:
                raise IdempotencyConflict(found.id)
            if not found.pending:
                break
            changed: TaskRecord | Missing | None = None
            with move_on_at(give_up):
                changed = await self._store.changed(task.id, after=found.revision)
            if changed is None:
                raise SubmitInProgress
            found = await self.accept(task) if isinstance(changed, Missing) else changed
        return found


def _parsed(task_id: str) -> TaskId:
    known = parse_task_id(task_id)
    if known is None:
        raise UnknownTask(task_id)
    return known


def _present(task_id: TaskId, found: TaskRecord | Missing | Undecodable) -> TaskRecord:
    match found:
        case Undecodable():
            raise found
        case Missing.UNKNOWN:
            raise UnknownTask(task_id)
        case Missing.GONE:
            raise TaskRecordExpired(task_id)
        case record:
            return record
