"""The lists of recent tasks in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, final

import structlog

from hub.concurrency.periodic import every
from hub.errors import ConnectionLost, Undecodable
from hub.redis.client import RedisClient
from hub.stores.recent import Listed, entry_of, page_of
from hub.stores.redis import commands, replies
from hub.stores.redis.list_changes import ListChanges, ListName, RunsListed
from hub.stores.timing import OperationTimer
from hub.task import Outcome
from hub.types import ModelName, TaskId, TaskState

PresentRun: TypeAlias = tuple[TaskId, float, ModelName]
"""A run of this process: its task, when it started, and whose it is."""

_log: Final = structlog.get_logger("hub.stores")


@final
class RedisLists:
    """Writes down which tasks ended without a response, at their end, and which runs of this process last.

    The lists are written apart from the records, in another hash slot, so they may lag behind or be wrong: readers compare
    them with the records. No outcome waits for a list: what cannot be written now is written later.

    Args:
        client: Carries the commands.
        calls: Counts them.
        period: Seconds between two updates of the lists of runs.
        runs: The present runs.
    """

    def __init__(
        self, client: RedisClient, calls: OperationTimer, *, period: float, runs: Callable[[], Iterable[PresentRun]]
    ) -> None:
        self._client = client
        self._calls = calls
        self._period = period
        self._runs = runs
        self._changes = ListChanges()
        self._listed = RunsListed(self._changes)

    async def work(self) -> None:
        """Keeps the lists of running tasks up to date until it is cancelled, and writes what is still to be written."""
        async for _ in every(self._period):
            self._listed.update(self._runs())
            await self.write()

    def ended(self, outcome: Outcome, model: str, lifetime_ms: int) -> None:
        """Notes an ending; its record lives so long."""
        self._changes.add(Listed(entry_of(outcome), outcome.state), model, lifetime_ms)

    def connected(self) -> None:
        """Called with each new connection: the server may have lost its data."""
        self._listed.forget()

    async def write(self) -> None:
        """Writes what has been noted, if anything. Does not fail: what the server did not take is noted again."""
        if not self._changes:
            return
        changes = self._changes.take()
        over = False
        try:
            with self._calls.timed("list", sum(len(change.entries) for change in changes.values())):
                await self._client.run(commands.LIST, commands.list_changes(changes))
            over = True
        except ConnectionLost as lost:
            _log.debug("recent tasks not listed yet", reason=lost.reason)
        except Undecodable as error:  # the key of a list has a foreign value
            over = True
            _log.warning("recent tasks not listed", reason=error.reason)
        finally:
            if not over:
                self._changes.put_back(changes)

    async def read(self, states: Sequence[TaskState], model: ModelName | None, before: str, limit: int) -> list[Listed]:
        """The newest entries below `before`.

        Raises:
            ConnectionLost: The server is out of reach.
            Undecodable: The key of a list has a foreign value.
        """
        names = [ListName(state, model or "") for state in states]
        with self._calls.timed("recent", len(names)):
            raw = await self._client.call(commands.read_lists(names, before=before, limit=limit))
        return page_of([replies.entries(reply) for reply in self._client.accepted(raw)], states, limit)

    def drop(self, listed: Listed, model: ModelName | None) -> None:
        """Notes that an entry is not true any more."""
        self._changes.remove(listed, model or "")
