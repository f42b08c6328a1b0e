"""What the gateway still owes the store: changes of records that could not be made when they were due."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, Event, create_task_group, move_on_after, sleep
from typing_extensions import override

from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConnectionLost
from hub.ports.result_store import ResultStore
from hub.task import Task

LAST_TRY: Final = 1.0
"""Seconds that the end of the block waits for what is still owed: two round trips to a slow store."""

_log = structlog.get_logger("hub.gateway")


@dataclass(frozen=True, slots=True)
class CompensationStatistics:
    """Records that are still to be withdrawn, and to be accepted."""

    withdrawals: int
    acceptances: int


@final
class CompensationQueue(AsyncContextManagerMixin):
    """Withdraws and accepts records in the background of the block, again and again until the store has answered.

    Nobody waits for it: a client whose task was refused has no id to look for, and one whose task was accepted has it
    on the queue. What is left when the block ends gets one last try.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._withdrawals: set[Task] = set()
        self._acceptances: set[Task] = set()
        self._due = Event()

    def statistics(self) -> CompensationStatistics:
        return CompensationStatistics(withdrawals=len(self._withdrawals), acceptances=len(self._acceptances))

    def withdraw(self, tasks: Iterable[Task]) -> None:
        """These tasks were not accepted; their records, as far as they are their own, must not stay."""
        # Without their bodies: clients that try again and again while the store is out of reach must not pile them up.
        self._owe(self._withdrawals, (replace(task, body=b"") for task in tasks))

    def accept(self, tasks: Iterable[Task]) -> None:
        """The messages of these tasks are confirmed; their records must not stay pending."""
        self._owe(self._acceptances, tasks)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._settle, name="hub.gateway arrears")
                yield self
                tg.cancel_scope.cancel("nothing is owed any more")
        finally:
            with move_on_after(LAST_TRY, shield=True):
                await self._pay()

    def _owe(self, due: set[Task], tasks: Iterable[Task]) -> None:
        due.update(tasks)
        if due:
            self._due.set()

    async def _settle(self) -> None:
        delays = ExponentialBackoff().intervals()
        while True:
            await self._due.wait()
            if await self._pay():
                delays = ExponentialBackoff().intervals()
            else:
                await sleep(next(delays))

    async def _pay(self) -> bool:
        """Carries out what is owed so far; returns whether the store could be reached."""
        try:
            for due, carry_out in (
                (self._acceptances, self._store.accept),
                (self._withdrawals, self._store.withdraw),
            ):
                tasks = sorted(due, key=lambda task: (task.id, task.created_at))
                if tasks:
                    await carry_out(tasks)
                    due.difference_update(tasks)
        except ConnectionLost as lost:
            owed = self.statistics()
            _log.warning(
                "records of refused or accepted tasks are not up to date",
                withdrawals=owed.withdrawals,
                acceptances=owed.acceptances,
                reason=lost.reason,
            )
            return False
        if not self._acceptances and not self._withdrawals:
            self._due = Event()
        return True
