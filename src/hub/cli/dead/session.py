"""The session of a command that works on dead letters: it holds them, so that no other consumer receives them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, final

from anyio import CancelScope

from hub.cli.resources import open_broker, open_store
from hub.concurrency.timeouts import timeout_as
from hub.dead_letters import DeadLetter, Selection, read_letters, select
from hub.errors import ConnectionLost
from hub.ports.broker import Broker, Consumer
from hub.ports.result_store import ResultStore
from hub.settings.connections import DeadSettings
from hub.task import TaskRecord
from hub.types import ModelName, parse_task_id

TIMEOUT: Final = 30.0
"""Seconds without progress after which a command fails: its servers usually answer within one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSession:
    """The oldest dead letters of a model, held by this process, so that they are delivered to no other consumer.

    Attributes:
        letters: The held letters, oldest first.
        total: The number of all dead letters of the model.
    """

    model: ModelName
    letters: Sequence[DeadLetter]
    total: int
    consumer: Consumer
    broker: Broker
    store: ResultStore

    @property
    def remaining(self) -> int:
        """Number of letters that are not held."""
        return max(0, self.total - len(self.letters))

    @property
    def count(self) -> str:
        """The number of all letters, as text."""
        return f"{self.total} dead {'letter' if self.total == 1 else 'letters'} of {self.model}"

    def summary(self, selected: Sequence[DeadLetter], code: str) -> str:
        """One sentence about the selected letters among all of the model."""
        if self.total == 0:
            return f"{self.model} has no dead letters"
        text = self.count
        if self.remaining:
            text = f"the oldest {len(self.letters)} of {text}; --limit {self.total} reads all of them"
        return f"{len(selected) or 'none'} with code {code}, among {text}" if code else text

    def select(self, ids: Sequence[str], code: str) -> Selection:
        return select(self.letters, ids, code=code)

    async def explain(self, missing: str, code: str) -> str:
        """The reason why there is no letter with an id, with the state of its task."""
        where = f"no dead letter of {self.model}" + (f" with code {code}" if code else "")
        text = f"{where} has this id"
        if self.remaining:
            text += f" among the oldest {len(self.letters)} of {self.total}; --limit {self.total} reads all of them"
        task_id = parse_task_id(missing)
        if task_id is not None:
            (record,) = await self.store.fetch([task_id])
            if isinstance(record, TaskRecord):
                text += f"; the task belongs to {record.model} and is {record.state}"
        return text


def progress_timeout() -> AbstractContextManager[CancelScope]:
    """Bounds a command that makes no progress; commands that do move the deadline of the scope.

    Raises:
        ConnectionLost: The deadline has passed.
    """
    reason = f"no answer within {TIMEOUT:g} s; `hub dead list` shows the present state"
    return timeout_as(lambda: ConnectionLost("the servers", reason), TIMEOUT)


@asynccontextmanager
async def open_session(model: ModelName, settings: DeadSettings, *, limit: int) -> AsyncGenerator[DeadLetterSession]:
    """Holds at most `limit` dead letters while the block runs.

    Raises:
        ConnectionLost: A server is out of reach, possibly in a group with others of its kind.
        UnknownQueue: The broker has no dead letter queue of this model.
    """
    async with (
        open_broker(settings) as broker,
        open_store(settings) as store,
        broker.dead_letters(model, limit=limit) as held,
    ):
        letters = read_letters(held.deliveries, model)
        yield DeadLetterSession(
            model=model, letters=letters, total=held.total, consumer=held.consumer, broker=broker, store=store
        )
