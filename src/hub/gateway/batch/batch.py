"""Many requests on one connection: lines in, answers out, each as soon as it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from math import inf
from typing import Final, TypeAlias, final

import msgspec
import structlog
from anyio import create_task_group, current_time, sleep_forever
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import UNSET, UnsetType

from hub.concurrency.notify import Notifier
from hub.errors import HubError
from hub.gateway.batch.errors import BatchInterrupted, LineTooLong, TooManyBlanks
from hub.gateway.batch.ndjson import LineSplitter, LongLine
from hub.gateway.batch.responses import OrderedResponses, OrderedResponsesStatistics
from hub.gateway.schemas import moment
from hub.http.long_polling import LongPollRegistry
from hub.http.problem_document import encoded_members, problem_dict
from hub.http.streaming import RequestBody, Write
from hub.submission.outcomes import SubmitResult
from hub.types import TaskState

WRITE_SIZE: Final = 64 * 1024
"""Bytes of answers that are sent in one chunk, and one answer more."""

RETRY_INTERVAL: Final = 1.0
"""Seconds after which a line is submitted again that found the queue of its model full."""

FULL_TIMEOUT: Final = 30.0
"""Seconds of a full queue, with no line accepted, after which lines are refused at once, until one is accepted again."""

Submit: TypeAlias = Callable[[int, bytes], Awaitable[SubmitResult]]
"""Makes a task of the line with this index."""

_log = structlog.get_logger("hub.gateway")


class LineBody(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an accepted line; `replayed` if an earlier submit of the same key was accepted."""

    index: int
    id: str
    state: TaskState
    expires_at: datetime
    replayed: bool | UnsetType = UNSET


@final
class Batch:
    """Submits each line as it arrives, several at once, and answers in the order of the lines.

    A line that is refused is answered with the problem, and the others go on; but a queue that is full makes the batch
    wait for room. When the client does not read the answers, or the lines arrive faster than they are accepted, reading
    stops. When the server drains, lines that were started are still answered, and one last answer has the index of the
    first line that was not.

    Args:
        submit: Called for each line, by up to `hub.gateway.batch.responses.IN_FLIGHT` tasks at once.
        line_limit: Bytes of a line at most.
        polls: Ends the batch when the server drains.
        on_refused: Called with each error of a line that was never submitted.
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
        self._responses = OrderedResponses()
        self._input_ended = False
        self._all_started = False
        self._full_since: float | None = None
        self._changed = Notifier()

    def statistics(self) -> OrderedResponsesStatistics:
        return self._responses.statistics()

    async def run(self, body: RequestBody, write: Write) -> None:
        """Returns when the last line is answered. Cancelled, it withdraws the lines that are not accepted yet."""
        async with create_task_group() as tg:
            tg.start_soon(self._write_responses, write, name="hub.gateway batch answers")
            await self._start_lines(body, tg)
            if not self._input_ended:
                self._end_input(BatchInterrupted(self._responses.started))
            self._all_started = True
            self._changed.notify()

    async def _start_lines(self, body: RequestBody, tg: TaskGroup) -> None:
        splitter = LineSplitter(self._line_limit)
        with self._polls.wait_scope(inf):
            async for chunk in body:
                if isinstance(chunk, HubError):
                    self._end_input(chunk)
                    return
                for line in splitter.feed(chunk):
                    if self._has_too_many_blanks(splitter):
                        return
                    await self._start_line(line, tg)
                if self._has_too_many_blanks(splitter):
                    return
                await checkpoint()  # receiving what has arrived already is no checkpoint
            for line in splitter.finish():
                await self._start_line(line, tg)
            self._input_ended = True

    def _has_too_many_blanks(self, splitter: LineSplitter) -> bool:
        """Ends the input if far more of it is blank than not."""
        if splitter.blanks <= self._line_limit + splitter.accepted:
            return False
        error = TooManyBlanks(self._line_limit, self._responses.started)
        self._on_refused(error)
        self._end_input(error)
        return True

    def _end_input(self, error: HubError) -> None:
        """Answers the rest of the batch with one last line, whose index is that of the first line that was not started."""
        index = self._responses.start(0)
        self._responses.answer(index, _problem_line(index, error))
        self._input_ended = True

    async def _start_line(self, line: bytes | LongLine, tg: TaskGroup) -> None:
        size = 0 if isinstance(line, LongLine) else len(line)
        while not self._responses.has_room(size):
            await self._changed.wait()
        index = self._responses.start(size)
        if isinstance(line, LongLine):
            error = LineTooLong(self._line_limit)
            self._on_refused(error)
            self._answer(index, _problem_line(index, error))
        else:
            tg.start_soon(self._handle_line, index, line, name=f"hub.gateway batch line {index}")

    async def _handle_line(self, index: int, line: bytes) -> None:
        try:
            accepted = await self._submit_when_room(index, line)
        except HubError as error:
            answer = _problem_line(index, error)
        except Exception as bug:  # noqa: BLE001
            # As in a single submit the log has all of it; the other lines are not affected.
            _log.error("unexpected error", line=index, exc_info=bug)
            unexpected = HubError("an unexpected error was raised; the log of this server has the details")
            answer = _problem_line(index, unexpected)
        else:
            answer = _accepted_line(index, accepted)
        self._answer(index, answer)

    async def _submit_when_room(self, index: int, line: bytes) -> SubmitResult:
        while True:
            try:
                accepted = await self._submit(index, line)
            except HubError as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS or not self._may_wait():
                    raise
            else:
                self._full_since = None
                return accepted
            with self._polls.wait_scope(RETRY_INTERVAL):
                await sleep_forever()

    def _may_wait(self) -> bool:
        now = current_time()
        if self._full_since is None:
            self._full_since = now
        return now - self._full_since < FULL_TIMEOUT and not self._polls.draining

    def _answer(self, index: int, text: bytes) -> None:
        self._responses.answer(index, text)
        self._changed.notify()

    async def _write_responses(self, write: Write) -> None:
        while not (self._all_started and self._responses.statistics().pending == 0):
            if self._responses.ready:
                await write(self._responses.pop_ready(WRITE_SIZE))
                self._changed.notify()
            else:
                await self._changed.wait()


def _accepted_line(index: int, task: SubmitResult) -> bytes:
    body = LineBody(
        index=index,
        id=task.id,
        state=task.state,
        expires_at=moment(task.expires_at),
        replayed=task.replayed or UNSET,
    )
    return msgspec.json.encode(body) + b"\n"


def _problem_line(index: int, error: HubError) -> bytes:
    return encoded_members({"index": index, "error": problem_dict(error)}) + b"\n"
