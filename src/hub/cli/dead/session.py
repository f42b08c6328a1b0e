"""Where dead letters are worked on: the window on them that a command holds, and how a command ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, final

from hub.brokers import open_broker
from hub.cli.ending import explained, fail, redactor
from hub.cli.options import broker_options
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.process import run_process
from hub.dead_letters import DeadLetter, Selection, read_letters, select
from hub.errors import HubError
from hub.observability.logs import configure_logging
from hub.ports.broker import Broker, Consumer
from hub.ports.result_store import ResultStore
from hub.settings.links import DeadSettings
from hub.stores import open_store
from hub.task import TaskRecord
from hub.types import ModelName, parse_task_id

DONE: Final = 0
NOT_ALL_DONE: Final = 1

TIMEOUT: Final = 30.0
"""Seconds without any progress after which a command gives up: its servers answer within one, or not at all."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSession:
    """The oldest dead letters of a model, which nobody else gets to see for now.

    Attributes:
        letters: What is held, oldest first.
        total: How many there are in all.
    """

    model: ModelName
    letters: Sequence[DeadLetter]
    total: int
    consumer: Consumer
    broker: Broker
    store: ResultStore

    @property
    def beyond(self) -> int:
        """Letters that were not looked at."""
        return max(0, self.total - len(self.letters))

    @property
    def there(self) -> str:
        """How many there are, in words."""
        return f"{self.total} dead {'letter' if self.total == 1 else 'letters'} of {self.model}"

    def summary(self, picked: Sequence[DeadLetter], code: str) -> str:
        """What `picked` is a part of, in one sentence."""
        if self.total == 0:
            return f"{self.model} has no dead letters"
        text = self.there
        if self.beyond:
            text = f"the oldest {len(self.letters)} of {text}; --limit {self.total} looks at all of them"
        return f"{len(picked) or 'none'} with code {code}, among {text}" if code else text

    def select(self, ids: Sequence[str], code: str) -> Selection:
        return select(self.letters, ids, code=code)

    async def explain(self, missing: str, code: str) -> str:
        """Why there is no letter of an id, as far as that can be told."""
        where = f"no dead letter of {self.model}" + (f" with code {code}" if code else "")
        text = f"{where} has this id"
        if self.beyond:
            text += f" among the oldest {len(self.letters)} of {self.total}; --limit {self.total} looks at all of them"
        task_id = parse_task_id(missing)
        if task_id is not None:
            (record,) = await self.store.fetch([task_id])
            if isinstance(record, TaskRecord):
                text += f"; the task is one of {record.model}, and {record.state}"
        return text


@asynccontextmanager
async def open_desk(model: ModelName, settings: DeadSettings, *, limit: int) -> AsyncGenerator[DeadLetterSession]:
    """Holds at most `limit` dead letters while the block runs.

    Raises:
        ConnectionLost: A server is out of reach, maybe in a group with others of its kind.
        UnknownQueue: The broker has no dead letters under this name.
    """
    async with (
        open_broker(settings.broker_url, broker_options(settings)) as broker,
        open_store(settings.store_url) as store,
        broker.dead_letters(model, limit=limit) as held,
    ):
        letters = read_letters(held.deliveries, model)
        yield DeadLetterSession(
            model=model, letters=letters, total=held.total, consumer=held.consumer, broker=broker, store=store
        )


def run_command(command: Callable[[], Awaitable[int]], settings: DeadSettings) -> int:
    """Runs a command as the whole process: what went wrong is one line for people, and an exit code for programs."""
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    code: int | None = None

    async def run() -> None:
        nonlocal code
        try:
            with collapse_exception_group():
                code = await command()
        except TimeoutError:
            code = fail(f"no server has answered for {TIMEOUT:g} s; see `hub dead list` for what is there now", 3)
        except HubError as error:
            code = fail(explained(error, settings), error.exit_code, redact=redactor(settings))

    crashed = run_process(run, backend=settings.backend)
    if not crashed and code is None:
        return fail("interrupted; dead letters that were not reported are where they were", NOT_ALL_DONE)
    return crashed or code or DONE
