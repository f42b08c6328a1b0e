"""Putting the tasks of dead letters back to work, so that at no moment one of them is nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeAlias, final

import structlog
from anyio import move_on_after
from structlog.typing import FilteringBoundLogger

from hub.dead_letters.letter import DeadLetter
from hub.dead_letters.records import death_of, settle_broker_deaths
from hub.errors import ConnectionLost, InvalidName, PublishRefused
from hub.ports.broker import Broker, Consumer, Publication
from hub.ports.result_store import Missing, ResultStore
from hub.task import Outcome, Task, TaskRecord
from hub.types import TaskId, TaskState, WallClock, model_name, wall_clock

STEP: Final = 100
"""Tasks that are put back with one round trip each to the store and the broker."""

GRACE: Final = 2.0
"""Seconds that a replay which is cut short has to mark the tasks it could not publish as dead again: one round trip to a
slow store."""

_NO_TASK: Final = "its body is no task, so there is nothing to run; it can only be dropped"
_WAITS_ALREADY: Final = (
    "its record says queued, so it is left alone; if a replay that was killed half-way left it so, and nothing runs it, "
    "use --again"
)
_JUST_NOW: Final = "it was reset or ended by another process at this moment; list it again"
_ENDED: Final = "its record has expired, but it had not ended as dead, so it is left alone; drop the letter"

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one task. `problem` says why its letters are still there; empty: it waits on its queue."""

    id: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Revival:
    """A task on its way back, and all the letters it has: a worker that dies at a bad moment leaves two."""

    task: Task
    letters: Sequence[DeadLetter]
    record: TaskRecord | Missing

    @property
    def forgotten(self) -> bool:
        return isinstance(self.record, Missing)

    @property
    def waits_already(self) -> bool:
        return isinstance(self.record, TaskRecord) and self.record.state is TaskState.QUEUED


_Group: TypeAlias = tuple[Task, list[DeadLetter]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """Makes the tasks of dead letters `queued` again, publishes copies of them, and then removes the letters.

    In that order, each step confirmed before the next, so whatever ends it, each task is on its queue, or its letter is
    still a dead letter, or both. A task whose message was not confirmed is marked as dead again, also when the call is
    cancelled; only a process that is killed, or a store that is lost at that moment, leaves a `queued` record with
    nothing but the dead letter behind it. `again` repairs that.

    Attributes:
        consumer: Holds the letters, and acks those whose tasks were published.
        broker: Where the copies go, each to the queue of the model that its task names.
        store: Knows which tasks are dead. What is not dead (any more) is left alone.
        tell: Called for each task as soon as its fate is known.
        keep_deadline: Keep the deadlines; else the copies have none, because by now they would have passed.
        again: Publish those that are `queued` by their record too. They may then be on their queue twice, which costs
            runs and no more: the first outcome of a task wins.
        clock: Tells Unix time.
    """

    consumer: Consumer
    broker: Broker
    store: ResultStore
    tell: Callable[[Replayed], None]
    keep_deadline: bool = False
    again: bool = False
    clock: WallClock = wall_clock

    async def replay(self, letters: Iterable[DeadLetter]) -> None:
        """Replays the tasks of `letters`.

        Raises:
            ConnectionLost: The broker or the store is out of reach. What was not told is still there.
        """
        groups = iter(self._by_task(letters))
        while step := list(islice(groups, STEP)):
            of_step = [letter for _, letters in step for letter in letters]
            records = await settle_broker_deaths(of_step, self.store, clock=self.clock)
            revivals = list(self._revivals(step, records))
            if revivals:
                await self._carry_out(revivals)

    def _by_task(self, letters: Iterable[DeadLetter]) -> list[_Group]:
        groups: dict[TaskId, _Group] = {}
        for letter in letters:
            if letter.task is None:
                self.tell(Replayed(letter.id, _NO_TASK))
            else:
                groups.setdefault(letter.task.id, (letter.task, []))[1].append(letter)
        return list(groups.values())

    def _revivals(self, groups: Iterable[_Group], records: Mapping[TaskId, TaskRecord | Missing]) -> Iterable[_Revival]:
        for task, letters in groups:
            copy = task if self.keep_deadline else replace(task, deadline=None)
            revival = _Revival(copy, letters, records[task.id])
            hindrance = self._hindrance(revival)
            if hindrance:
                self.tell(Replayed(task.id, hindrance))
            else:
                yield revival

    def _hindrance(self, revival: _Revival) -> str:
        try:
            model_name(revival.task.model)
        except InvalidName as error:
            return f"no queue can be its queue: {error}"
        if isinstance(revival.record, Missing) or revival.record.state is TaskState.DEAD:
            return ""
        if revival.waits_already:
            return "" if self.again else _WAITS_ALREADY
        return (
            f"its record says {revival.record.state}, not dead, so it is left alone; drop the letter if that is right"
        )

    async def _carry_out(self, revivals: Sequence[_Revival]) -> None:
        now = self.clock()
        # What was queued already stays so on failure: its message may well be on its queue.
        unsure = {
            revival.task.id: death_of(revival.letters[-1], revival.record, now=now)
            for revival in revivals
            if not revival.waits_already
        }
        try:
            answers = await self.store.reset([revival.task for revival in revivals])
            revived: list[_Revival] = []
            for revival, waits in zip(revivals, answers, strict=True):
                if waits or revival.waits_already:
                    revived.append(revival)
                else:
                    unsure.pop(revival.task.id, None)
                    self.tell(Replayed(revival.task.id, _ENDED if revival.forgotten else _JUST_NOW))
            refusals = await self.broker.publish([_publication(revival.task, now) for revival in revived])
            for revival, refused in zip(revived, refusals, strict=True):
                if refused is None:
                    self.consumer.ack([letter.delivery for letter in revival.letters])
                    unsure.pop(revival.task.id, None)
                self.tell(Replayed(revival.task.id, _still_dead(refused)))
        finally:
            if unsure:
                with move_on_after(GRACE, shield=True) as scope:
                    await _bury(list(unsure.values()), self.store)
                if scope.cancelled_caught:
                    _log_unburied(len(unsure))


async def _bury(deaths: Sequence[Outcome], store: ResultStore) -> None:
    """Marks tasks as dead that were reset and not published, or whose publishing was not confirmed."""
    try:
        await store.finish(deaths)
    except ConnectionLost:  # what is on its way to the caller says more
        _log_unburied(len(deaths))


def _log_unburied(tasks: int) -> None:
    _log.error("dead letters may be queued by their record: replay them with --again", tasks=tasks)


def _publication(task: Task, now: float) -> Publication:
    return Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=now)


def _still_dead(refused: PublishRefused | None) -> str:
    return "" if refused is None else f"{refused}; it is dead as before"
