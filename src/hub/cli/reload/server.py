"""The side of `hub up --reload` that carries out the calls of the process of its models; the other one is `calls`."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from typing import final

from anyio import CancelScope, Event, create_task_group, sleep_forever
from anyio.abc import TaskStatus

from hub.cli.reload.frames import (
    CallAnswer,
    CancelCall,
    EnterCall,
    FrameConnection,
    LeaveCall,
    MethodCall,
    Notification,
)
from hub.errors import ConnectionLost


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
        self._failures: dict[int, Exception] = {}

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
                            scope = self._scope(message.number)
                            tg.start_soon(self._call, frames, message, scope, name=f"hub.reload {message.method}")
                        case EnterCall():
                            scope = self._scope(message.number)
                            self._left[message.number] = Event()
                            tg.start_soon(self._enter, frames, message, scope, name=f"hub.reload {message.method}")
                        case Notification():
                            self._notify(message)
                        case CancelCall():
                            if message.number in self._scopes:  # otherwise it has ended, and its answer is on its way
                                self._scopes[message.number].cancel("the models do not need the answer any more")
                        case LeaveCall():
                            self._leave(frames, message)
                        case _:
                            raise TypeError(f"{message!r} is no message")
                tg.cancel_scope.cancel("the process of the models has ended")
        finally:
            frames.close()
        await sleep_forever()

    def _scope(self, number: int) -> CancelScope:
        """The scope of a call, which can be cancelled before its task runs for the first time."""
        scope = self._scopes[number] = CancelScope()
        return scope

    def _notify(self, message: Notification) -> None:
        target = self._targets.get(message.target)
        if target is not None:  # otherwise its block has ended, and there is nothing left to settle
            getattr(target, message.method)(*message.args, **message.kwargs)

    async def _call(self, frames: FrameConnection, call: MethodCall, scope: CancelScope) -> None:
        answer = CallAnswer(call.number, cancelled=True)
        with scope:
            try:
                value = await getattr(self._target(call), call.method)(*call.args, **call.kwargs)
            except Exception as error:  # noqa: BLE001 - raised again at the other end
                answer = CallAnswer(call.number, error=_portable(error))
            else:
                answer = CallAnswer(call.number, value)
        del self._scopes[call.number]
        frames.send(answer)

    def _target(self, call: MethodCall | EnterCall) -> object:
        if call.target not in self._targets:
            raise ConnectionLost(call.target, "its block has ended")
        return self._targets[call.target]

    async def _enter(self, frames: FrameConnection, call: EnterCall, scope: CancelScope) -> None:
        """Answers when the context manager is entered, or cannot be; the answer to its `LeaveCall` says how it was left."""
        name = f"{call.target}.{call.method}#{call.number}"
        left = self._left[call.number]
        answer = CallAnswer(call.number, cancelled=True)
        entered = False
        try:
            with scope:
                async with getattr(self._target(call), call.method)(*call.args, **call.kwargs) as target:
                    del self._scopes[call.number]  # from here on it is left, not cancelled
                    self._targets[name] = target
                    frames.send(CallAnswer(call.number, name))
                    entered = True
                    try:
                        await left.wait()
                    finally:
                        del self._targets[name]
            if entered:
                answer = CallAnswer(-call.number)
        except Exception as error:  # noqa: BLE001 - raised again at the other end
            answer = CallAnswer(-call.number if entered else call.number, error=_portable(error))
        self._scopes.pop(call.number, None)
        del self._left[call.number]
        if not entered or left.is_set():
            frames.send(answer)
        elif answer.error is not None:
            self._failures[call.number] = answer.error

    def _leave(self, frames: FrameConnection, message: LeaveCall) -> None:
        if message.entered in self._left:
            self._left[message.entered].set()
        else:  # its block has ended by itself, as that of a lost connection does
            frames.send(CallAnswer(message.number, error=self._failures.pop(message.entered, None)))


def _portable(error: Exception) -> Exception:
    """The error, or one with its text if it cannot be pickled and read back."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - written just now
    except Exception:  # noqa: BLE001 - any error of any class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
