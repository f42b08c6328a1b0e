"""Many requests of one model as NDJSON, in parts of bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar, final
from urllib.parse import quote

import msgspec
from typing_extensions import override

from hub.client.errors import GatewayError, UnexpectedReply, error_of
from hub.client.messages import AnyRequest, Target, json_line
from hub.client.submission import key_or_own
from hub.client.task import TaskHandle
from hub.client.transport import Transport, is_temporary

T = TypeVar("T")

PART_LINES: Final = 1000
"""Requests that are sent together at most, and answers that are in memory. A gateway keeps up to 10,000 unread answers."""

PART_BYTES: Final = 4 * 1024 * 1024
"""Bytes of these requests, above which no further one joins them."""

SILENCE: Final = 60.0
"""Seconds without an answer after which the connection counts as lost: a full queue delays one for 30."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer(Generic[T]):
    """The answer to one request of a batch: a task, or the error that a single submit would raise.

    Attributes:
        index: Which request it was, from 0.
        task: The task; `None` if the request was refused.
        error: Why it was refused.
    """

    index: int
    task: TaskHandle[T] | None = None
    error: GatewayError | None = None


class _Line(msgspec.Struct, frozen=True):
    index: int
    id: str = ""
    error: dict[str, Any] | None = None


@final
class BatchSubmission(AsyncIterator[BatchAnswer[T]]):
    """Submits requests part by part, and yields an answer for each, in order.

    The next requests are taken when the answers so far have been read, so neither requests nor answers pile up. Each part has
    an idempotency key and is sent again after a lost connection or for lines that a full queue has refused. Leaving it early
    leaves the requests that were not taken; tasks that were made go on.

    Args:
        transport: Sends the parts.
        target: The model.
        requests: Messages, dicts, or lines of JSON as bytes, none of them blank.
        headers: Of each part.
        key: Prefix of the idempotency keys; `None` for one of its own.
    """

    def __init__(
        self,
        transport: Transport,
        target: Target,
        requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest],
        *,
        headers: dict[str, str],
        key: str | None,
    ) -> None:
        self._transport = transport
        self._target = target
        self._requests = aiter(requests) if isinstance(requests, AsyncIterable) else _each(requests)
        self._headers = headers
        self._key = key_or_own(key)
        self._sent = 0
        self._answers: deque[BatchAnswer[T]] = deque()
        self._left_over: bytes | None = None

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> BatchAnswer[T]:
        if not self._answers:
            await self._submit(await self._next_part())
        if not self._answers:
            raise StopAsyncIteration
        return self._answers.popleft()

    async def _next_part(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        if self._left_over is not None:
            lines.append(self._left_over)
            size += len(self._left_over)
            self._left_over = None
        async for request in self._requests:
            line = json_line(request)
            if lines and size + len(line) > PART_BYTES:
                self._left_over = line
                break
            lines.append(line)
            size += len(line)
            if len(lines) == PART_LINES:
                break
        return lines

    async def _submit(self, lines: list[bytes]) -> None:
        """Sends a part until each of its lines has an answer that stands."""
        if not lines:
            return
        first, self._sent = self._sent, self._sent + len(lines)
        headers = self._headers | {
            "Content-Type": "application/x-ndjson",
            "Accept": "application/x-ndjson",
            "Idempotency-Key": f"{self._key}.{first}",
        }
        limit = self._transport.retry_limit()
        while True:
            response = await self._transport.send(
                "POST",
                f"/v1/models/{quote(self._target.name, safe='')}/batches",
                content=b"\n".join(lines) + b"\n",
                headers=headers,
                silence=SILENCE,
            )
            answers = self._read(response.content, first, len(lines))
            refused = next((each.error for each in answers if each.error and is_temporary(each.error)), None)
            if refused is not None:
                try:
                    await limit.pause(refused)
                except GatewayError:
                    refused = None  # the answers stand
            if refused is None:
                self._answers.extend(answers)
                return

    def _read(self, content: bytes, first: int, count: int) -> list[BatchAnswer[T]]:
        try:
            found = msgspec.json.Decoder(_Line).decode_lines(content)
        except msgspec.DecodeError as error:
            raise UnexpectedReply(f"batch of {self._target.name}", f"an answer cannot be read: {error}") from error
        by_index = {line.index: line for line in found}
        last = found[-1] if found else None
        answers: list[BatchAnswer[T]] = []
        for index in range(count):
            line = by_index.get(index, last)
            if line is None or (line.index < index and not line.error):
                raise UnexpectedReply(f"batch of {self._target.name}", f"line {index} has no answer")
            answers.append(self._answer(first + index, line))
        return answers

    def _answer(self, index: int, line: _Line) -> BatchAnswer[T]:
        if line.error is None:
            return BatchAnswer(index=index, task=TaskHandle(self._transport, self._target, line.id))
        status = line.error.get("status")
        seconds = line.error.get("retry_after")
        return BatchAnswer(
            index=index,
            error=error_of(
                line.error,
                status if isinstance(status, int) else GatewayError.status,
                float(seconds) if isinstance(seconds, int | float) else None,
            ),
        )


async def _each(requests: Iterable[AnyRequest]) -> AsyncIterator[AnyRequest]:
    for request in requests:
        yield request
