"""Calls between `hub up --reload` and the process of its models, over a socket pair.

The process of the models has no broker and no store of its own: it calls those of its parent, so that `memory://` works too
and a new generation connects to nothing. A frame is the length of its content in four bytes, most significant first, and
the content: one of the messages below, pickled. Both ends are hub, run by one user on one machine for development, and the
values are hub's own; the code of the models can do all that its process may do in any case.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any, Final, final

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    create_memory_object_stream,
    create_task_group,
    sleep_forever,
    wait_readable,
    wait_writable,
)
from anyio.abc import TaskStatus

from hub.concurrency.services import background_service
from hub.errors import ConnectionLost

PEER: Final = "hub up"
"""The other end, in errors."""

PIECE: Final = 65_536
"""Bytes that are read at once."""

_HEADER: Final = 4


@dataclass(frozen=True, slots=True)
class MethodCall:
    """Calls an async method of a target. `number` is that of the answer."""

    number: int
    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class EnterCall:
    """Enters the context manager that a method returns. The answer is the name of the target that it yields."""

    number: int
    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class LeaveCall:
    """Leaves the context manager with this number; the answer to `number` follows when it has been left."""

    number: int
    entered: int


@dataclass(frozen=True, slots=True)
class Notification:
    """Calls a method that is not async, without an answer. Notifications and calls are carried out in order."""

    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Cancels a call that is in progress."""

    number: int


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The value that a call returned, or the error that it raised."""

    number: int
    value: Any = None
    error: Exception | None = None


def encode(message: object) -> bytes:
    content = pickle.dumps(message)
    return len(content).to_bytes(_HEADER) + content


def receive_first(connection: socket.socket) -> object:
    """The first message, read without an event loop; the sender wrote it before it started this process."""
    with connection.makefile("rb", buffering=0) as file:
        size = int.from_bytes(_read(file.read, _HEADER))
        return pickle.loads(_read(file.read, size))  # noqa: S301 - see the text of this module


def _read(read: Any, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        more = read(size - len(parts))
        if not more:
            raise ConnectionLost(PEER, "it has ended")
        parts += more
    return parts


@final
class FrameConnection:
    """Sends messages in order, without a wait, and iterates over those that arrive until the other end is closed.

    It waits for its socket by `wait_readable`: a `UNIXSocketStream` of anyio that is cancelled when its other end is closed
    may raise `InvalidStateError` in asyncio's event loop.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._outgoing, self._queue = create_memory_object_stream[object](inf)  # bounded by the calls in progress

    def send(self, message: object) -> None:
        with suppress(ClosedResourceError, BrokenResourceError):  # the end of the connection is reported by `messages`
            self._outgoing.send_nowait(message)

    async def write(self) -> None:
        """Writes what `send` gets, until it is cancelled or the other end is closed."""
        with suppress(OSError, ClosedResourceError):
            async for message in self._queue:
                rest = memoryview(encode(message))
                while rest:
                    await wait_writable(self._socket)
                    rest = rest[self._socket.send(rest) :]

    async def messages(self) -> AsyncGenerator[object]:
        received = bytearray()
        while data := await self._read():
            received += data
            while len(received) >= _HEADER:
                end = _HEADER + int.from_bytes(received[:_HEADER])
                if len(received) < end:
                    break
                content = bytes(received[_HEADER:end])
                del received[:end]
                yield pickle.loads(content)  # noqa: S301 - see the text of this module

    async def _read(self) -> bytes:
        """The next bytes; none at the end of the connection."""
        try:
            await wait_readable(self._socket)
            return self._socket.recv(PIECE)
        except (OSError, ClosedResourceError):
            return b""

    def close(self) -> None:
        self._outgoing.close()
        self._queue.close()
        self._socket.close()


@final
class CallServer:
    """Carries out the calls of the other end; what is entered or in progress when that is closed is left or cancelled.

    Args:
        connection: A socket; closed at the end.
        targets: Objects by the names that calls have for them.
    """

    def __init__(self, connection: socket.socket, targets: Mapping[str, object]) -> None:
        self._socket = connection
        self._targets = dict(targets)
        self._scopes: dict[int, CancelScope] = {}
        self._left: dict[int, Event] = {}

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Runs until it is cancelled, also after the other end has been closed."""
        frames = FrameConnection(self._socket)
        task_status.started()
        try:
            async with create_task_group() as tg:
                tg.start_soon(frames.write, name="hub.reload answers")
                async for message in frames.messages():  # a generator without cleanup of its own
                    match message:
                        case MethodCall():
                            tg.start_soon(self._call, frames, message, name=f"hub.reload {message.method}")
                        case EnterCall():
                            tg.start_soon(self._enter, frames, message, name=f"hub.reload {message.method}")
                        case Notification():
                            self._notify(message)
                        case CancelCall():
                            if message.number in self._scopes:
                                self._scopes[message.number].cancel("the models do not need the answer any more")
                        case LeaveCall():
                            if message.entered in self._left:
                                self._left[message.entered].set()
                            else:  # its block has ended by itself, as that of a lost connection does
                                frames.send(CallAnswer(message.number))
                        case _:
                            raise TypeError(f"{message!r} is no message")
                tg.cancel_scope.cancel("the process of the models has ended")
        finally:
            frames.close()
        await sleep_forever()

    def _notify(self, message: Notification) -> None:
        target = self._targets.get(message.target)
        if target is not None:  # otherwise its block has been left, so nothing is there to be told
            getattr(target, message.method)(*message.args, **message.kwargs)

    async def _call(self, frames: FrameConnection, call: MethodCall) -> None:
        with CancelScope() as scope:
            self._scopes[call.number] = scope
            try:
                value = await getattr(self._target(call), call.method)(*call.args, **call.kwargs)
            except Exception as error:  # noqa: BLE001 - raised again at the other end
                frames.send(CallAnswer(call.number, error=_portable(error)))
            else:
                frames.send(CallAnswer(call.number, value))
            finally:
                del self._scopes[call.number]

    def _target(self, call: MethodCall) -> object:
        if call.target not in self._targets:
            raise ConnectionLost(call.target, "its block has ended")
        return self._targets[call.target]

    async def _enter(self, frames: FrameConnection, call: EnterCall) -> None:
        name = f"{call.target}.{call.method}#{call.number}"
        left = self._left[call.number] = Event()
        answered = False
        try:
            with CancelScope() as scope:
                self._scopes[call.number] = scope
                async with getattr(self._targets[call.target], call.method)(*call.args, **call.kwargs) as target:
                    del self._scopes[call.number]
                    self._targets[name] = target
                    try:
                        frames.send(CallAnswer(call.number, name))
                        answered = True
                        await left.wait()
                    finally:
                        del self._targets[name]
        except Exception as error:  # noqa: BLE001 - raised again at the other end
            frames.send(CallAnswer(call.number if not answered else -call.number, error=_portable(error)))
        else:
            if answered:
                frames.send(CallAnswer(-call.number))
        finally:
            self._scopes.pop(call.number, None)
            del self._left[call.number]


def _portable(error: Exception) -> Exception:
    """The error, or one with its text if it cannot be pickled and read back."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - written just now
    except Exception:  # noqa: BLE001 - any error of any class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@final
class CallClient:
    """Calls methods of the objects at the other end."""

    def __init__(self, frames: FrameConnection) -> None:
        self._frames = frames
        self._numbers = count(1)
        self._waiting: dict[int, tuple[Event, list[CallAnswer]]] = {}
        self._closed = False

    async def call(self, target: str, method: str, *args: object, **kwargs: object) -> Any:
        """Calls an async method.

        Raises:
            ConnectionLost: The other end is closed.
            Exception: What the method raised.
        """
        number = next(self._numbers)
        return await self._answer(number, MethodCall(number, target, method, args, kwargs), cancellable=True)

    @asynccontextmanager
    async def enter(self, target: str, method: str, *args: object, **kwargs: object) -> AsyncGenerator[str]:
        """Enters the context manager that a method returns; yields the name of the target that it yields."""
        number = next(self._numbers)
        name = await self._answer(number, EnterCall(number, target, method, args, kwargs), cancellable=True)
        try:
            yield name
        finally:
            with CancelScope(shield=True):  # the parent leaves it at once, or ends and takes this process with it
                await self._answer(-number, LeaveCall(-number, number), cancellable=False)

    def notify(self, target: str, method: str, *args: object, **kwargs: object) -> None:
        """Calls a method that is not async and returns nothing."""
        self._frames.send(Notification(target, method, args, kwargs))

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Receives answers until it is cancelled, or raises `ConnectionLost` when the other end is closed."""
        async with create_task_group() as tg:
            tg.start_soon(self._frames.write, name="hub.reload calls")
            task_status.started()
            async for message in self._frames.messages():
                if isinstance(message, CallAnswer) and message.number in self._waiting:
                    event, answers = self._waiting[message.number]
                    answers.append(message)
                    event.set()
            self._closed = True
            for event, _ in self._waiting.values():
                event.set()
            raise ConnectionLost(PEER, "it has ended")

    async def _answer(self, number: int, message: object, *, cancellable: bool) -> Any:
        if self._closed:
            raise ConnectionLost(PEER, "it has ended")
        event, answers = self._waiting[number] = (Event(), [])
        self._frames.send(message)
        try:
            await event.wait()
        except BaseException:
            if cancellable:
                self._frames.send(CancelCall(number))
            raise
        finally:
            del self._waiting[number]
        if not answers:
            raise ConnectionLost(PEER, "it has ended")
        if answers[0].error is not None:
            raise answers[0].error
        return answers[0].value


@asynccontextmanager
async def open_calls(connection: socket.socket) -> AsyncGenerator[CallClient]:
    """The calls of this process to its parent; they work until the block has ended, also during a drain in it."""
    with closing(FrameConnection(connection)) as frames:
        client = CallClient(frames)
        async with background_service(client.run, name="calls to hub up"):
            yield client
