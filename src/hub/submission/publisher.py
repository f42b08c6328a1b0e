"""Publishes tasks: a record in the store and a confirmed message on the queue, or neither."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

from anyio import AsyncContextManagerMixin, move_on_after
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.concurrency.timeouts import timeout_as
from hub.errors import ConnectionLost, PublishRefused
from hub.histogram import SIZES, Histogram, HistogramSnapshot
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import ResultStore
from hub.submission.compensation import CompensationQueue
from hub.submission.errors import AcceptTimeout, BrokerBlocked
from hub.task import Task, TaskRecord
from hub.types import TaskId

CONCURRENT_BATCHES: Final = 4
"""Batches under way at once, so that the round trip of one to the broker overlaps with that of the next to the store."""

_Answer: TypeAlias = PublishRefused | TaskRecord | None
"""Why the broker has rejected a task, or the record of an earlier submit of it; `None` for an accepted one."""


@dataclass(slots=True, eq=False)
class _PendingSubmit:
    """A submit; its record is withdrawn if it is `abandoned` before it is `settled`, afterwards the answer stands."""

    task: Task
    abandoned: bool = False
    settled: bool = False
    answer: _Answer = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStatistics:
    """`waiting` submits are in no batch yet; the records of `failed` ones are still to be withdrawn.

    `sizes` counts batches by the tasks that were accepted in them.
    """

    waiting: int
    batches: int
    submits: int
    failed: int
    sizes: HistogramSnapshot


@final
class TaskPublisher(AsyncContextManagerMixin):
    """Publishes tasks in batches: one write to the store and one flush of the broker for many concurrent submits.

    A record is written before its message is published, so that no instance ever receives a task without one. When the
    message is not confirmed, or the client has disconnected meanwhile, the record is withdrawn: should the message be
    delivered after all, no instance starts it.

    Args:
        broker: For the messages.
        store: For the records.
        timeout: Seconds that a submit may take.
        concurrency: Batches under way at once.
    """

    def __init__(
        self, broker: Broker, store: ResultStore, *, timeout: float, concurrency: int = CONCURRENT_BATCHES
    ) -> None:
        self._broker = broker
        self._store = store
        self._timeout = timeout
        self._compensation = CompensationQueue(store)
        self._sizes = Histogram(SIZES)
        self._submits = Batcher(self._publish_batch, name="publish", concurrency=concurrency, timeout=timeout)
        self._confirmations = Batcher(self._confirm_batch, name="confirm", concurrency=concurrency)

    def statistics(self) -> PublisherStatistics:
        batcher = self._submits.statistics()
        return PublisherStatistics(
            waiting=batcher.waiting,
            batches=batcher.batches,
            submits=batcher.calls,
            failed=self._compensation.statistics().withdrawals,
            sizes=self._sizes.snapshot(),
        )

    async def publish(self, task: Task) -> TaskRecord | None:
        """Returns once the task is accepted: from then on it ends in an outcome.

        Cancelled before that, the task is withdrawn; cancelled at the very moment, it stays accepted.

        Returns:
            `None`, or for a task with an idempotency key the record of an earlier submit under that key: then nothing
            was written or published, and the record may be `pending`.

        Raises:
            PublishRefused: The broker has rejected it: `QueueFull`, `UnroutableMessage`, ...
            ConnectionLost: The broker or the store is out of reach.
            BrokerBlocked: The broker did not confirm in time, because of an alarm.
            AcceptTimeout: One of them did not confirm in time.
        """
        submit = _PendingSubmit(task)
        try:
            await self._submits.submit(submit)
        except TimeoutError:
            submit.abandoned = True
            if not submit.settled:
                raise self._timeout_error() from None
        except BaseException:
            submit.abandoned = True
            if submit.settled and submit.answer is None and task.idempotency_key:
                self._compensation.confirm([task])
            raise
        answer = submit.answer
        if isinstance(answer, PublishRefused):
            raise answer
        if answer is None and task.idempotency_key:
            await self._confirm(task)
        return answer

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._compensation, self._confirmations, self._submits:
            yield self

    async def _publish_batch(self, submits: Sequence[_PendingSubmit]) -> Sequence[None]:
        # A record must not stay without a message, whether that is rejected, unconfirmed because of a lost connection, or
        # cancelled.
        try:
            await self._create_and_publish(submits)
        except BaseException:
            self._withdraw(submits)
            raise
        self._withdraw(submit for submit in submits if submit.abandoned or isinstance(submit.answer, PublishRefused))
        for submit in submits:
            submit.settled = not submit.abandoned
        accepted = sum(submit.settled and submit.answer is None for submit in submits)
        if accepted:
            self._sizes.observe(accepted)
        return [None] * len(submits)

    async def _create_and_publish(self, submits: Sequence[_PendingSubmit]) -> None:
        with timeout_as(self._timeout_error, self._timeout):
            records = await self._store.create([submit.task for submit in submits])
            _answer_replays(submits, records)
            wanted = [submit for submit in submits if submit.answer is None and not submit.abandoned]
            publications = [_publication(submit.task) for submit in wanted]
            answers = await self._broker.publish(publications) if publications else ()
            for submit, refused in zip(wanted, answers, strict=True):
                submit.answer = refused

    async def _confirm(self, task: Task) -> None:
        """Marks the record as accepted, for later submits under the same key; tried again later if this fails."""
        done = False
        try:
            with move_on_after(self._timeout):
                await self._confirmations.submit(task)
                done = True
        except ConnectionLost:
            pass
        finally:
            if not done:
                self._compensation.confirm([task])

    async def _confirm_batch(self, tasks: Sequence[Task]) -> Sequence[None]:
        await self._store.confirm(tasks)
        return [None] * len(tasks)

    def _withdraw(self, submits: Iterable[_PendingSubmit]) -> None:
        self._compensation.withdraw(submit.task for submit in submits if not isinstance(submit.answer, TaskRecord))

    def _timeout_error(self) -> AcceptTimeout | BrokerBlocked:
        blocked = self._broker.statistics().blocked
        return AcceptTimeout(self._timeout) if blocked is None else BrokerBlocked(blocked)


def _answer_replays(submits: Sequence[_PendingSubmit], records: Sequence[TaskRecord | None]) -> None:
    """Answers the submits whose task has a record already, made by another submit under the same key."""
    written: set[TaskId] = set()
    for submit, record in zip(submits, records, strict=True):
        task = submit.task
        # An adapter may have repeated the write, so a record that exists already may be of this submit.
        ours = record is None or not task.idempotency_key or record.created_at == task.created_at
        if ours and task.id not in written:
            written.add(task.id)
        else:
            submit.answer = record


def _publication(task: Task) -> Publication:
    return Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=task.created_at)
