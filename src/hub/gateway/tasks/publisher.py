"""Accepting tasks: a record in the store and a confirmed message on the queue, or neither."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

from anyio import AsyncContextManagerMixin, fail_after, move_on_after
from typing_extensions import override

from hub.concurrency.batching import Batcher
from hub.errors import ConnectionLost, PublishRefused
from hub.gateway.errors import AcceptTimeout, BrokerBlocked
from hub.gateway.tasks.compensation import CompensationQueue
from hub.histogram import SIZES, Histogram, HistogramSnapshot
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import ResultStore
from hub.task import Task, TaskRecord
from hub.types import TaskId

LANES: Final = 4
"""Groups under way at once, so that one round trip to the broker hides the next one to the store."""

_Answer: TypeAlias = PublishRefused | TaskRecord | None
"""Why the broker did not take a task, or the record of an earlier submit of it, or that it is accepted."""


@dataclass(slots=True, eq=False)
class _PendingSubmit:
    """One that is `abandoned` before it is `settled` is taken back; afterwards the answer stands."""

    task: Task
    abandoned: bool = False
    settled: bool = False
    answer: _Answer = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherStatistics:
    """`waiting` submits are in no group yet; the records of `failed` ones are still to be taken back.

    `sizes` counts groups by the tasks that were accepted in them.
    """

    waiting: int
    groups: int
    submits: int
    failed: int
    sizes: HistogramSnapshot


@final
class TaskPublisher(AsyncContextManagerMixin):
    """Accepts tasks in groups: one write to the store and one flush of the broker for many concurrent submits.

    A record is written before its message is published, so that no instance ever finds a task without one. When the
    message is not confirmed, or the client hung up meanwhile, the record is withdrawn: should the message turn up
    after all, no instance starts it.

    Args:
        broker: Where messages go.
        store: Where records go.
        timeout: Seconds that a submit may take.
    """

    def __init__(self, broker: Broker, store: ResultStore, *, timeout: float) -> None:
        self._broker = broker
        self._store = store
        self._timeout = timeout
        self._arrears = CompensationQueue(store)
        self._sizes = Histogram(SIZES)
        self._submit = Batcher(self._carry_out, name="accept", concurrency=LANES)
        self._confirm = Batcher(self._mark_accepted, name="mark accepted", concurrency=LANES)

    def statistics(self) -> PublisherStatistics:
        grouping = self._submit.statistics()
        return PublisherStatistics(
            waiting=grouping.waiting,
            groups=grouping.batches,
            submits=grouping.calls,
            failed=self._arrears.statistics().withdrawals,
            sizes=self._sizes.snapshot(),
        )

    async def __call__(self, task: Task) -> TaskRecord | None:
        """Returns once the task is accepted: from then on it ends in an outcome.

        Cancelled before that, the task is taken back; cancelled at the very moment, it stays accepted.

        Returns:
            `None`, or for a task with an idempotency key the record of an earlier submit under that key: then nothing
            was written or published, and the record may be `pending`.

        Raises:
            PublishRefused: The broker did not take it: `QueueFull`, `Unroutable`, ...
            ConnectionLost: The broker or the store is out of reach.
            BrokerBlocked: The broker did not confirm in time, because of an alarm of its own.
            AcceptTimeout: One of them did not confirm in time.
        """
        submission = _PendingSubmit(task)
        try:
            with fail_after(self._timeout):
                await self._submit.submit(submission)
        except TimeoutError:
            submission.abandoned = True
            if not submission.settled:
                raise self._too_late() from None
        except BaseException:
            submission.abandoned = True
            if submission.settled and submission.answer is None and task.idempotency_key:
                self._arrears.accept([task])
            raise
        answer = submission.answer
        if isinstance(answer, PublishRefused):
            raise answer
        if answer is None and task.idempotency_key:
            await self._confirmed(task)
        return answer

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._arrears, self._confirm, self._submit:
            yield self

    async def _confirmed(self, task: Task) -> None:
        """Lets submits of the same key see that it is accepted; that it is so does not depend on whether this works."""
        done = False
        try:
            with move_on_after(self._timeout):
                await self._confirm.submit(task)
                done = True
        except ConnectionLost:
            pass
        finally:
            if not done:
                self._arrears.accept([task])

    async def _mark_accepted(self, tasks: Sequence[Task]) -> Sequence[None]:
        await self._store.accept(tasks)
        return [None] * len(tasks)

    async def _carry_out(self, submissions: Sequence[_PendingSubmit]) -> Sequence[None]:
        # Whatever is not confirmed, by refusal, lost link or cancellation, must not stay queued without a message.
        try:
            await self._create_and_publish(submissions)
        except BaseException:
            self._take_back(submissions)
            raise
        self._take_back(
            submission
            for submission in submissions
            if submission.abandoned or isinstance(submission.answer, PublishRefused)
        )
        for submission in submissions:
            submission.settled = not submission.abandoned
        accepted = sum(submission.settled and submission.answer is None for submission in submissions)
        if accepted:
            self._sizes.observe(accepted)
        return [None] * len(submissions)

    def _too_late(self) -> AcceptTimeout | BrokerBlocked:
        blocked = self._broker.statistics().blocked
        return AcceptTimeout(self._timeout) if blocked is None else BrokerBlocked(blocked)

    def _take_back(self, submissions: Iterable[_PendingSubmit]) -> None:
        self._arrears.withdraw(
            submission.task for submission in submissions if not isinstance(submission.answer, TaskRecord)
        )

    async def _create_and_publish(self, submissions: Sequence[_PendingSubmit]) -> None:
        try:
            with fail_after(self._timeout):
                records = await self._store.create([submission.task for submission in submissions])
                _find_earlier(submissions, records)
                wanted = [
                    submission for submission in submissions if submission.answer is None and not submission.abandoned
                ]
                publications = [_publication(submission.task) for submission in wanted]
                answers = await self._broker.publish(publications) if publications else ()
        except TimeoutError:
            raise self._too_late() from None
        for submission, refused in zip(wanted, answers, strict=True):
            submission.answer = refused


def _find_earlier(submissions: Sequence[_PendingSubmit], records: Sequence[TaskRecord | None]) -> None:
    """Answers the submits whose task was there already, made by another submit under the same key."""
    written: set[TaskId] = set()
    for submission, record in zip(submissions, records, strict=True):
        task = submission.task
        # An adapter may have repeated the write, so a record that is there already may be the one that we wrote.
        ours = record is None or not task.idempotency_key or record.created_at == task.created_at
        if ours and task.id not in written:
            written.add(task.id)
        else:
            submission.answer = record


def _publication(task: Task) -> Publication:
    return Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=task.created_at)
