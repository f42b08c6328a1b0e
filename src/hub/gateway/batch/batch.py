"""Many requests on one connection: lines in, answers out, both as they come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from math import inf
from typing import Final, TypeAlias, final

import msgspec
import structlog
from anyio import Event, create_task_group, current_time, sleep_forever
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import UNSET, UnsetType

from hub.errors import HubError
from hub.gateway.batch.ndjson import LineSplitter, LongLine
from hub.gateway.batch.responses import OrderedResponses, OrderedResponsesStatistics
from hub.gateway.errors import BatchInterrupted, LineTooLong, TooManyBlanks
from hub.gateway.schemas import moment
from hub.gateway.tasks.submit_result import SubmitResult
from hub.http.long_polling import LongPollRegistry
from hub.http.problems import encoded_members, members_of
from hub.http.streaming import RequestBody, Write
from hub.types import TaskState

WRITE_SIZE: Final = 64 * 1024
"""Bytes of answers that are sent in one piece, and one answer more."""

ROOM_PERIOD: Final = 1.0
"""Seconds after which a line that found the queue of its model full tries again."""

ROOM_TIMEOUT: Final = 30.0
"""Seconds of a full queue, with no line accepted, after which lines are refused at once, until one is accepted again."""

Submit: TypeAlias = Callable[[int, bytes], Awaitable[SubmitResult]]
"""Makes a task of the line with this index."""

_log = structlog.get_logger("hub.gateway")


class LineBody(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a line that was accepted; `replayed` if that was under an earlier submit of the same key."""

    index: int
    id: str
    state: TaskState
    expires_at: datetime
    replayed: bool | UnsetType = UNSET


@final
class Batch:
    """Submits each line as it arrives, some of them at once, and answers in the order of the lines.

    A line that is refused is answered with the problem, and the others go on; but a queue that is full makes the batch
    wait for room. When nobody reads the answers, or the lines come faster than they are accepted, no more are read. When
    the server drains, lines that have begun are still answered, and one last answer says where it stopped.

    Args:
        submit: Called for each line, by up to `hub.gateway.batch.responses.IN_FLIGHT` tasks at once.
        line_limit: Bytes of a line at most.
        polls: Ends the batch when the server drains.
        on_refused: Called with each error of a line that no submit was made of.
    """

    def __init__(
        self,
        submit: Submit,
        *,
        line_limit: int,
        polls: LongPollRegistry,
        on_refused: Callable[[HubError], None] = lambda _: None,
    ) -> None:
        self._submit = submit
        self._line_limit = line_limit
        self._polls = polls
        self._on_refused = on_refused
        self._answers = OrderedResponses()
        self._complete = False
        self._all_begun = False
        self._full_since: float | None = None
        self._moved = Event()

    def statistics(self) -> OrderedResponsesStatistics:
        return self._answers.statistics()

    async def __call__(self, body: RequestBody, write: Write) -> None:
        """Runs until the last line is answered. Cancelled, it takes back what was not accepted yet."""
        async with create_task_group() as tg:
            tg.start_soon(self._write_answers, write, name="hub.gateway batch answers")
            await self._begin_lines(body, tg)
            if not self._complete:
                self._break_off(BatchInterrupted(self._answers.begun))
            self._all_begun = True
            self._move()

    async def _begin_lines(self, body: RequestBody, tg: TaskGroup) -> None:
        splitter = LineSplitter(self._line_limit)
        with self._polls.hold(inf):
            async for chunk in body:
                if isinstance(chunk, HubError):
                    self._break_off(chunk)
                    return
                for line in splitter.feed(chunk):
                    if self._has_too_many_blanks(splitter):
                        return
                    await self._begin(line, tg)
                if self._has_too_many_blanks(splitter):
                    return
                await checkpoint()  # what has arrived already is read without one
            for line in splitter.finish():
                await self._begin(line, tg)
            self._complete = True

    def _has_too_many_blanks(self, splitter: LineSplitter) -> bool:
        """Breaks off a batch of which far more is blank than is not."""
        if splitter.blanks <= self._line_limit + splitter.taken:
            return False
        error = TooManyBlanks(self._line_limit, self._answers.begun)
        self._on_refused(error)
        self._break_off(error)
        return True

    def _break_off(self, error: HubError) -> None:
        """OrderedResponses what cannot be read of the batch with one last line, which names the first line that was not taken."""
        index = self._answers.begin(0)
        self._answers.answer(index, _refused(index, error))
        self._complete = True

    async def _begin(self, line: bytes | LongLine, tg: TaskGroup) -> None:
        size = 0 if isinstance(line, LongLine) else len(line)
        while not self._answers.has_room(size):
            await self._moved.wait()
        index = self._answers.begin(size)
        if isinstance(line, LongLine):
            error = LineTooLong(self._line_limit)
            self._on_refused(error)
            self._answer(index, _refused(index, error))
        else:
            tg.start_soon(self._carry_out, index, line, name=f"hub.gateway batch line {index}")

    async def _carry_out(self, index: int, line: bytes) -> None:
        try:
            accepted = await self._accept(index, line)
        except HubError as error:
            answer = _refused(index, error)
        except Exception as bug:  # noqa: BLE001
            # A defect of ours, as in a single submit: the log gets all of it, and the other lines are not to suffer.
            _log.error("unexpected error", line=index, exc_info=bug)
            answer = _refused(index, HubError("an unexpected error was raised; the log of this server has the details"))
        else:
            answer = _accepted(index, accepted)
        self._answer(index, answer)

    async def _accept(self, index: int, line: bytes) -> SubmitResult:
        while True:
            try:
                accepted = await self._submit(index, line)
            except HubError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS or not self._may_wait():
                    raise
            else:
                self._full_since = None
                return accepted
            with self._polls.hold(ROOM_PERIOD):
                await sleep_forever()

    def _may_wait(self) -> bool:
        now = current_time()
        if self._full_since is None:
            self._full_since = now
        return now - self._full_since < ROOM_TIMEOUT and not self._polls.draining

    def _answer(self, index: int, text: bytes) -> None:
        self._answers.answer(index, text)
        self._move()

    async def _write_answers(self, write: Write) -> None:
        while not (self._all_begun and self._answers.statistics().pending == 0):
            if self._answers.ready:
                await write(self._answers.take(WRITE_SIZE))
                self._move()
            else:
                await self._moved.wait()

    def _move(self) -> None:
        self._moved.set()
        self._moved = Event()


def _accepted(index: int, task: SubmitResult) -> bytes:
    body = LineBody(
        index=index,
        id=task.id,
        state=task.state,
        expires_at=moment(task.expires_at),
        replayed=task.replayed or UNSET,
    )
    return msgspec.json.encode(body) + b"\n"


def _refused(index: int, error: HubError) -> bytes:
    return encoded_members({"index": index, "error": members_of(error)}) + b"\n"
