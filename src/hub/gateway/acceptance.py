"""Accepting tasks: a record in the store and a confirmed message on the queue, or neither."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, Event, create_task_group, fail_after, move_on_after, sleep
from typing_extensions import override

from hub.errors import LinkLost, PublishRefused
from hub.gateway.errors import AcceptTimeout
from hub.grouping import Grouped
from hub.ports import Broker, Publication, ResultStore
from hub.supervision import Backoff
from hub.task import Task
from hub.vocabulary import TaskId

LANES: Final = 4
"""Groups under way at once, so that one round trip to the broker hides the next one to the store."""

WITHDRAW_GRACE: Final = 1.0
"""Seconds that the end of the block waits for the last records to be taken back: two round trips to a slow store."""

_log = structlog.get_logger("hub.gateway")


@dataclass(slots=True, eq=False)
class _Submission:
    task: Task
    abandoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceStatistics:
    """`waiting` submits are in no group yet; the records of `failed` ones are still to be taken back."""

    waiting: int
    groups: int
    submits: int
    failed: int


@final
class Acceptance(AsyncContextManagerMixin):
    """Accepts tasks in groups: one write to the store and one flush of the broker for many concurrent submits.

    A record is written before its message is published, so that no instance ever finds a task without one. When the
    message is not confirmed, or the client hung up meanwhile, the record is withdrawn: should the message turn up
    after all, no instance starts it.

    Args:
        broker: Where messages go.
        store: Where records go.
        patience: Seconds that a submit may take.
    """

    def __init__(self, broker: Broker, store: ResultStore, *, patience: float) -> None:
        self._broker = broker
        self._store = store
        self._patience = patience
        self._submit = Grouped(self._carry_out, name="accept", lanes=LANES)
        self._failed: set[TaskId] = set()
        self._some_failed = Event()

    def statistics(self) -> AcceptanceStatistics:
        grouping = self._submit.statistics()
        return AcceptanceStatistics(
            waiting=grouping.waiting, groups=grouping.groups, submits=grouping.calls, failed=len(self._failed)
        )

    async def __call__(self, task: Task) -> None:
        """Returns once the task is accepted: from then on it ends in an outcome.

        Cancelled before that, the task is taken back, unless its message is confirmed at this very moment.

        Raises:
            PublishRefused: The broker did not take it: `QueueFull`, `Unroutable`, ...
            LinkLost: The broker or the store is out of reach.
            AcceptTimeout: One of them did not confirm in time.
        """
        submission = _Submission(task)
        try:
            with fail_after(self._patience):
                refused = await self._submit(submission)
        except TimeoutError:
            submission.abandoned = True
            raise AcceptTimeout(self._patience) from None
        except BaseException:
            submission.abandoned = True
            raise
        if refused is not None:
            raise refused

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._withdraw_what_failed, name="hub.gateway withdraw")
                async with self._submit:
                    yield self
                tg.cancel_scope.cancel("no more submits")
        finally:
            with move_on_after(WITHDRAW_GRACE, shield=True):
                await self._withdraw()

    async def _carry_out(self, submissions: Sequence[_Submission]) -> Sequence[PublishRefused | None]:
        # Whatever is not confirmed, by refusal, lost link or cancellation, must not stay queued without a message.
        try:
            answers = await self._create_and_publish(submissions)
        except BaseException:
            self._take_back(submissions)
            raise
        self._take_back(
            submission
            for submission, refused in zip(submissions, answers, strict=True)
            if refused is not None or submission.abandoned
        )
        return answers

    def _take_back(self, submissions: Iterable[_Submission]) -> None:
        self._failed.update(submission.task.id for submission in submissions)
        if self._failed:
            self._some_failed.set()

    async def _create_and_publish(self, submissions: Sequence[_Submission]) -> list[PublishRefused | None]:
        try:
            with fail_after(self._patience):
                # A record that is there already is our own: ids are new, and an adapter may have repeated the write.
                await self._store.create([submission.task for submission in submissions])
                wanted = [submission for submission in submissions if not submission.abandoned]
                answers = await self._broker.publish([_publication(submission.task) for submission in wanted])
        except TimeoutError:
            raise AcceptTimeout(self._patience) from None
        refused = dict(zip((submission.task.id for submission in wanted), answers, strict=True))
        return [refused.get(submission.task.id) for submission in submissions]

    async def _withdraw_what_failed(self) -> None:
        delays = Backoff().delays()
        while True:
            await self._some_failed.wait()
            if await self._withdraw():
                delays = Backoff().delays()
            else:
                await sleep(next(delays))

    async def _withdraw(self) -> bool:
        """Takes back the records of what failed so far; returns whether the store could be reached."""
        failed = sorted(self._failed)
        if failed:
            try:
                await self._store.withdraw(failed)
            except LinkLost as lost:
                _log.warning("records of refused tasks stay for now", tasks=len(failed), reason=lost.reason)
                return False
        self._failed.difference_update(failed)
        if not self._failed:
            self._some_failed = Event()
        return True


def _publication(task: Task) -> Publication:
    return Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=task.created_at)
