"""Streams of a task over lost connections: its chunks, and its changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast, final

import msgspec
from anyio import move_on_after
from httpx2 import Response, TransportError
from typing_extensions import override

from hub.client.errors import GatewayError, GatewayUnreachable, StreamRestarted, error_of, error_of_task
from hub.client.events import EVENT_STREAM, EventDecoder, ServerEvent
from hub.client.messages import Target
from hub.client.snapshot import TaskSnapshot
from hub.client.submission import Submission
from hub.client.transport import Transport, problem_in, snapshot_in, task_path
from hub.types import TaskState

T_co = TypeVar("T_co", covariant=True)

CLOSE_GRACE: Final = 1.0
"""Seconds to close a connection whose reader has left; nothing is sent for it."""

_ENDED: Final = 204
_EVENTS: Final = {"Accept": EVENT_STREAM}


@final
class ResumedEvents:
    """The events of a task, read from one connection after the other.

    Args:
        transport: Whose limit for retries counts.
        connect: Opens a connection that begins after the event with this id.
        deadline: After which no further connection is opened, by the clock of the event loop.
    """

    def __init__(self, transport: Transport, connect: Callable[[str], Awaitable[Response]], deadline: float) -> None:
        self.seen = ""
        self._transport = transport
        self._connect = connect
        self._limit = transport.retry_limit(deadline)
        self._response: Response | None = None
        self._bytes: AsyncIterator[bytes] | None = None
        self._decoder = EventDecoder()
        self._events: list[ServerEvent] = []

    async def next(self) -> ServerEvent | None:
        """The next event; `None` if the gateway has none after `seen`.

        Raises:
            GatewayError, GatewayUnreachable, UnexpectedReply: As `Transport.send` says.
        """
        while not self._events:
            try:
                stream = self._bytes or await self._open()
                if stream is None:
                    return None
                await self._read(stream)
            except (GatewayError, GatewayUnreachable) as error:
                await self.close()
                await self._limit.pause(error)
        event = self._events.pop(0)
        self.seen = event.id or self.seen
        return event

    async def close(self) -> None:
        """Closes the connection. Shielded."""
        response, stream = self._response, self._bytes
        self._response = self._bytes = None
        self._decoder = EventDecoder()
        if response is not None:
            with move_on_after(CLOSE_GRACE, shield=True):
                await response.aclose()
                if stream is not None:
                    await _exhaust(stream)

    async def _open(self) -> AsyncIterator[bytes] | None:
        self._response = await self._connect(self.seen)
        if self._response.status_code == _ENDED:
            await self.close()
            return None
        self._bytes = aiter(self._response.aiter_raw())
        return self._bytes

    async def _read(self, stream: AsyncIterator[bytes]) -> None:
        try:
            content = await anext(stream, b"")
        except TransportError as error:
            raise self._transport.unreachable(error) from error
        if not content:
            raise self._transport.unreachable()
        self._events.extend(self._decoder.feed(content))
        if self._events:
            self._limit.succeeded()


class _Reader(Generic[T_co]):
    """What both streams have in common: an async iterator that is also a context manager."""

    def __init__(self, events: ResumedEvents) -> None:
        self._events = events
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> T_co:
        if self._over:
            raise StopAsyncIteration
        try:
            found = await self._next()
        except BaseException:  # cancellation too: all of them end the stream
            await self.aclose()
            raise
        if found is None:
            await self.aclose()
            raise StopAsyncIteration
        return found

    async def aclose(self) -> None:
        """Ends the stream before its end."""
        self._over = True
        await self._events.close()

    async def _next(self) -> T_co | None:
        raise NotImplementedError


@final
class TaskChanges(_Reader[TaskSnapshot]):
    """Yields a task as it is, then each of its changes, until it has ended; then the stream ends.

    Changes that follow each other quickly may come as one, but never without the last. Leave it before its end with
    `async with`, or `aclose()`, so that its connection is closed. It changes nothing about the task.
    """

    def __init__(self, transport: Transport, task: str) -> None:
        async def connect(seen: str) -> Response:
            return await transport.open("GET", task_path(task), headers=_EVENTS | _after(seen))

        super().__init__(ResumedEvents(transport, connect, float("inf")))
        self._ended = False

    @override
    async def _next(self) -> TaskSnapshot | None:
        event = None if self._ended else await self._events.next()
        if event is None:
            return None
        if event.name != "task":
            raise _problem_of(event)
        snapshot = snapshot_in(event.data)
        self._ended = snapshot.state.terminal
        return snapshot


@final
class MessageStream(_Reader[T_co]):
    """Yields the chunks of a streaming model as they come: messages, or JSON if the request was JSON.

    It ends when the task has succeeded, and raises `TaskUnsuccessful` when it ends otherwise. A lost connection is resumed,
    at any gateway behind the URL, after the last chunk that was read: each chunk of an attempt comes once and in order.

    When another attempt begins, because an instance died or the model retries, the chunks so far are void. `on_restart` is
    called before the first chunk of the new attempt; without it the stream raises `StreamRestarted`, unless nothing was read.

    Leave it before its end with `async with`, or `aclose()`: that closes the connection and, for the stream of a call, cancels
    the task.

    Attributes:
        task: Id of the task; empty before the first chunk of a call.
        attempt: The attempt that the last chunk belongs to; 0 before the first one.
        number: The number of the last chunk in its attempt, from 1.
    """

    def __init__(
        self,
        events: ResumedEvents,
        target: Target,
        *,
        task: Callable[[], str],
        on_restart: Callable[[int], None] | None,
        abandon: Callable[[], Awaitable[None]] | None,
    ) -> None:
        super().__init__(events)
        self.attempt = 0
        self.number = 0
        self._target = target
        self._task = task
        self._on_restart = on_restart
        self._abandon = abandon
        self._ended = False

    @classmethod
    def of_call(cls, call: Submission, on_restart: Callable[[int], None] | None) -> MessageStream[Any]:
        """The stream of a call, which makes its task when the first chunk is asked for."""

        async def connect(seen: str) -> Response:
            if call.task:
                return await call.transport.open(
                    "GET", f"{task_path(call.task)}/chunks", headers=_EVENTS | _after(seen)
                )
            return await call.open()

        return cls(
            ResumedEvents(call.transport, connect, call.deadline),
            call.target,
            task=lambda: call.task,
            on_restart=on_restart,
            abandon=call.abandon,
        )

    @classmethod
    def of_task(
        cls, transport: Transport, target: Target, task: str, on_restart: Callable[[int], None] | None
    ) -> MessageStream[Any]:
        """The chunks of a task from its first one. Leaving it changes nothing about the task."""

        async def connect(seen: str) -> Response:
            return await transport.open("GET", f"{task_path(task)}/chunks", headers=_EVENTS | _after(seen))

        events = ResumedEvents(transport, connect, float("inf"))
        return cls(events, target, task=lambda: task, on_restart=on_restart, abandon=None)

    @property
    def task(self) -> str:
        return self._task()

    @override
    async def aclose(self) -> None:
        """Closes the connection and, for the stream of a call, cancels the task, unless it has ended or has a key of yours.

        Bounded to a few seconds, and not cut short by a cancellation.
        """
        first = not self._over
        await super().aclose()
        if first and not self._ended and self._abandon is not None:
            await self._abandon()

    @override
    async def _next(self) -> T_co | None:
        while (event := await self._events.next()) is not None:
            match event.name:
                case "chunk":
                    attempt, _, number = event.id.partition("-")
                    self._begin(int(attempt))
                    self.number = int(number)
                    return cast("T_co", self._target.decode_json(event.data))
                case "restarted":
                    self._begin(int(msgspec.json.decode(event.data)["attempt"]))
                case "task":
                    snapshot = snapshot_in(event.data)
                    if snapshot.state.terminal:
                        self._ended = True
                        if snapshot.state is not TaskState.SUCCEEDED:
                            raise error_of_task(snapshot.id, snapshot.state, snapshot.failure or {})
                        return None
                case _:
                    raise _problem_of(event)
        self._ended = True
        return None

    def _begin(self, attempt: int) -> None:
        """Another attempt than that of the last chunk makes the chunks so far void."""
        if attempt == self.attempt:
            return
        void, self.attempt, self.number = self.number, attempt, 0
        if not void:
            return
        if self._on_restart is None:
            raise StreamRestarted(self.task, attempt)
        self._on_restart(attempt)


async def _exhaust(stream: AsyncIterator[bytes]) -> None:
    """Reads the rest of a body whose connection is closed: what is buffered, until an error or the end.

    It consists of generators within each other. Closing the outermost would leave the others to the garbage collector, of
    which trio warns; the error that they end with is of no interest.
    """
    with suppress(Exception):
        while True:
            await anext(stream)


def _after(seen: str) -> dict[str, str]:
    return {"Last-Event-ID": seen} if seen else {}


def _problem_of(event: ServerEvent) -> GatewayError:
    problem = problem_in(event.data, f"event {event.name}")
    status = problem.get("status")
    return error_of(problem, status if isinstance(status, int) else GatewayError.status)
