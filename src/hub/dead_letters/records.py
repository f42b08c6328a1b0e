"""Records of tasks that the broker dead-lettered by itself, so that no instance stored an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hub.dead_letters.letter import DeadLetter
from hub.ports.result_store import Missing, ResultStore
from hub.task import Outcome, TaskRecord
from hub.types import TaskId, TaskState, WallClock, wall_clock

CLOCK_SLACK: Final = 2.0
"""Seconds by which a broker's clock may be behind the store's; RabbitMQ tells the time of a death in whole seconds."""


async def records_of(letters: Sequence[DeadLetter], store: ResultStore) -> dict[TaskId, TaskRecord | Missing]:
    """What the store knows of the tasks of the letters.

    Raises:
        ConnectionLost: The store is out of reach.
    """
    ids = list({letter.task.id: None for letter in letters if letter.task is not None})
    return dict(zip(ids, await store.fetch(ids), strict=True)) if ids else {}


async def settle_broker_deaths(
    letters: Sequence[DeadLetter], store: ResultStore, *, clock: WallClock = wall_clock
) -> Mapping[TaskId, TaskRecord | Missing]:
    """Finishes as `dead` what the broker gave up and the store believes to be waiting or running.

    A record that was changed after the death is left alone: the task has come to life again (a replay that was killed
    before it could remove the letter), or a run that has outlived its link still reports.

    Returns:
        The records of the tasks of all the letters, afterwards.

    Raises:
        ConnectionLost: The store is out of reach.
    """
    records = await records_of(letters, store)
    deaths: dict[TaskId, Outcome] = {}
    for letter in letters:
        record = None if letter.task is None else records[letter.task.id]
        if isinstance(record, TaskRecord) and _died_unheard(letter, record):
            deaths[record.id] = death_of(letter, record, now=clock())
    if deaths:
        await store.finish(list(deaths.values()))
        records |= dict(zip(deaths, await store.fetch(list(deaths)), strict=True))
    return records


def death_of(letter: DeadLetter, record: TaskRecord | Missing, *, now: float) -> Outcome:
    """The outcome of the task of a letter: the stored one if there is one, else what the letter says.

    Raises:
        ValueError: The letter holds no task.
    """
    if letter.task is None:
        raise ValueError("a letter that holds no task has no outcome")
    if isinstance(record, TaskRecord) and record.outcome is not None:
        return record.outcome
    known = record if isinstance(record, TaskRecord) else None
    return Outcome(
        task_id=letter.task.id,
        state=TaskState.DEAD,
        failure=letter.failure,
        attempt=letter.attempt or (known.attempt if known else 0),
        instance=letter.instance or (known.instance if known else None),
        finished_at=letter.died_at or now,
    )


def _died_unheard(letter: DeadLetter, record: TaskRecord) -> bool:
    if not letter.broker_killed or record.state.terminal:
        return False
    return letter.died_at is None or record.updated_at <= letter.died_at + CLOCK_SLACK
