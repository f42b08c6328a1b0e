"""Changes of records that could not be written when they were due, and are written as soon as the store answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, create_task_group, move_on_after
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import retrying
from hub.errors import ConnectionLost
from hub.ports.result_store import ResultStore
from hub.task import Task

FINAL_FLUSH_TIMEOUT: Final = 1.0
"""Seconds that the end of the block waits for the last attempt: two round trips to a slow store."""

MAX_PENDING: Final = 100_000
"""Changes of each kind that are kept while the store is out of reach; beyond that the oldest are dropped, and their records
stay as they are until they expire."""

BATCH_SIZE: Final = 1_000
"""Records that are written in one call."""

_log = structlog.get_logger("hub.submission")


@dataclass(frozen=True, slots=True)
class CompensationStatistics:
    """Records that are still to be withdrawn, and to be marked as accepted."""

    withdrawals: int
    confirmations: int


@final
class CompensationQueue(AsyncContextManagerMixin):
    """Withdraws and accepts records in the background of the block, and retries until the store has answered.

    No request waits for it: the client of a withdrawn task never got its id, and an accepted task is on the queue
    whatever its record says. Changes that are left when the block ends get one last attempt.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._withdrawals: dict[Task, None] = {}  # a set in the order of insertion
        self._confirmations: dict[Task, None] = {}
        self._added = Notifier()

    def statistics(self) -> CompensationStatistics:
        return CompensationStatistics(withdrawals=len(self._withdrawals), confirmations=len(self._confirmations))

    def withdraw(self, tasks: Iterable[Task]) -> None:
        """Withdraws the records of these tasks, which were not accepted, unless they belong to other submits."""
        # Without their bodies: the retries of clients while the store is out of reach would fill the memory with them.
        self._enqueue(self._withdrawals, (replace(task, body=b"") for task in tasks))

    def confirm(self, tasks: Iterable[Task]) -> None:
        """Marks the records of these tasks as accepted: their messages are confirmed."""
        self._enqueue(self._confirmations, tasks)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._run, name="hub.submission compensation")
                yield self
                tg.cancel_scope.cancel("no submits any more")
        finally:
            with move_on_after(FINAL_FLUSH_TIMEOUT, shield=True):
                try:
                    await self._flush()
                except ConnectionLost as lost:
                    self._log_failure(lost, 0.0)

    def _enqueue(self, pending: dict[Task, None], tasks: Iterable[Task]) -> None:
        pending.update(dict.fromkeys(tasks))
        for oldest in list(islice(pending, max(0, len(pending) - MAX_PENDING))):
            del pending[oldest]
        self._added.notify()

    async def _run(self) -> None:
        while True:
            await self._added.wait_for(lambda: self._withdrawals or self._confirmations)
            await retrying(on=ConnectionLost, on_retry=self._log_failure).call(self._flush)

    async def _flush(self) -> None:
        for pending, write in ((self._confirmations, self._store.confirm), (self._withdrawals, self._store.withdraw)):
            while tasks := list(islice(pending, BATCH_SIZE)):
                await write(tasks)
                for task in tasks:
                    pending.pop(task, None)

    def _log_failure(self, error: Exception, _delay: float) -> None:
        pending = self.statistics()
        _log.warning(
            "records of refused or accepted tasks are not up to date",
            withdrawals=pending.withdrawals,
            confirmations=pending.confirmations,
            reason=error.reason if isinstance(error, ConnectionLost) else str(error),
        )
