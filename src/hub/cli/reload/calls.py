"""Calls from the process of the models of `hub up --reload` to its parent, over a socket pair.

The process has no broker and no store of its own: it calls those of its parent, so that `memory://` works too and a new
generation connects to nothing.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from itertools import count
from typing import Any, final

from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class
from anyio.abc import TaskStatus

from hub.cli.reload.frames import (
    PEER,
    CallAnswer,
    CancelCall,
    EnterCall,
    FrameConnection,
    LeaveCall,
    MethodCall,
    Notification,
)
from hub.concurrency.services import background_service
from hub.errors import ConnectionLost


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

        A cancellation cancels it at the other end. If it has ended there before, this returns what it returned, so that a
        message that was received is not lost on the way.

        Raises:
            ConnectionLost: The other end is closed.
            Exception: What the method raised.
        """
        number = next(self._numbers)
        return await self._answer(number, MethodCall(number, target, method, args, kwargs))

    @asynccontextmanager
    async def enter(self, target: str, method: str, *args: object, **kwargs: object) -> AsyncGenerator[str]:
        """Enters the context manager that a method returns; yields the name of the target that it yields."""
        number = next(self._numbers)
        name = await self._answer(number, EnterCall(number, target, method, args, kwargs))
        try:
            yield name
        finally:
            with CancelScope(shield=True):  # the parent leaves it at once, or ends and takes this process with it
                await self._answer(-number, LeaveCall(-number, number))

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

    async def _answer(self, number: int, message: object) -> Any:
        if self._closed:
            raise ConnectionLost(PEER, "it has ended")
        event, answers = self._waiting[number] = (Event(), [])
        self._frames.send(message)
        try:
            try:
                await event.wait()
            except get_cancelled_exc_class():  # noqa: ASYNC103 - not raised if the call was carried out before the parent knew
                self._frames.send(CancelCall(number))
                with CancelScope(shield=True):  # the parent answers at once, as above
                    await event.wait()
                if not answers or answers[0].cancelled:
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
