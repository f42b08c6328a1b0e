"""Outcomes on their way into the store, in groups; deliveries are settled after that, never before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, final

import structlog
from anyio import Event, current_time, sleep
from structlog.typing import FilteringBoundLogger

from hub.errors import HubError
from hub.model.run import Run
from hub.model.statistics import Tally
from hub.ports import ResultStore
from hub.supervision import Backoff
from hub.task import Outcome

GROUP_LIMIT: Final = 256
"""Outcomes in one write at most."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    run: Run
    outcome: Outcome
    dead_letter: bool
    since: float


@final
class Outbox:
    """Takes outcomes at once, and one task writes whatever has gathered while the last write was under way.

    A delivery is acked (or, for a dead task, given to the dead letters) when the store has confirmed its outcome. While
    the store is out of reach outcomes stay here and are tried again; what has waited for `patience` is handed back to
    the broker as a failed delivery. Nothing is acked that is not stored, and nothing is lost.

    Args:
        store: Where outcomes go.
        patience: Seconds that an outcome waits for the store.
        tally: Counts what happens.
        on_settled: Called with each run that is off this instance's hands.
    """

    def __init__(self, store: ResultStore, *, patience: float, tally: Tally, on_settled: Callable[[Run], None]) -> None:
        self._store = store
        self._patience = patience
        self._tally = tally
        self._on_settled = on_settled
        self._entries: dict[Run, _Entry] = {}  # in the order of `since`
        self._work = Event()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, run: Run, outcome: Outcome, *, dead_letter: bool = False) -> None:
        """Takes over a run with its outcome. `dead_letter`: its message goes to the dead letters in the end."""
        self._entries[run] = _Entry(run, outcome, dead_letter, since=current_time())
        self._work.set()

    def give_up(self) -> None:
        """Hands back every run whose outcome is not stored; for the end of a drain."""
        self._hand_back(list(self._entries.values()))

    async def write(self) -> None:
        """Writes until it is cancelled. A cancelled write keeps its outcomes here."""
        while True:
            await self._work.wait()
            delays = Backoff().delays()
            while self._entries:
                group = list(islice(self._entries.values(), GROUP_LIMIT))  # they stay in until they are stored
                try:
                    counted = await self._store.finish([entry.outcome for entry in group])
                except HubError as error:
                    delay = next(delays)
                    _log.warning("outcomes not stored, trying again", count=len(group), reason=str(error))
                    given_up = current_time() - self._patience
                    self._hand_back([entry for entry in self._entries.values() if entry.since <= given_up])
                    await sleep(delay)
                else:
                    delays = Backoff().delays()
                    for entry, first in zip(group, counted, strict=True):
                        self._settle(entry, first=first)
            self._work = Event()

    def _settle(self, entry: _Entry, *, first: bool) -> None:
        if self._entries.pop(entry.run, None) is None:
            return  # handed back meanwhile
        if first:
            self._tally.stored[entry.outcome.state] += 1
        else:
            self._tally.dropped += 1
        if entry.dead_letter:
            entry.run.reject(requeue=False)
        else:
            entry.run.ack()
        self._on_settled(entry.run)

    def _hand_back(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            del self._entries[entry.run]
            self._tally.requeued += 1
            entry.run.reject(requeue=True)
            self._on_settled(entry.run)
