"""An event loop of its own for the code of an async model, in a thread of its own.

An `async def` that computes, or that calls a blocking library, holds the event loop that it runs in. If that were the
loop of the instance, pings, heartbeats and the acknowledgements of other tasks would wait for it: the registry would
drop a healthy instance, and the broker would give its tasks to another one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from math import inf
from typing import Any, Final, Self, TypeVar, cast, final

import anyio
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import TaskGroup
from anyio.lowlevel import EventLoopToken, checkpoint, checkpoint_if_cancelled, current_token
from anyio.to_thread import run_sync
from sniffio import current_async_library
from typing_extensions import override

from hub.concurrency.in_context import InContext
from hub.concurrency.notify import Notifier
from hub.concurrency.threads import FOREIGN, rename
from hub.concurrency.uvloop_runner import ProcessLoop
from hub.errors import HubError
from hub.model.execution.wakeup import Crossing
from hub.observability.watchdog import LIMIT, watch_loop

T = TypeVar("T")

CANCEL_GRACE: Final = 0.5
"""Seconds that a cancelled call is waited for. One that takes longer computes, or shields itself: it is abandoned."""

END_GRACE: Final = 5.0
"""Seconds that the loop has to end its tasks when the block ends. A thread that still computes then is abandoned."""


DEADLINE_MARGIN: Final = 0.1
"""Seconds by which a call's own scope outlives its caller's deadline, whose passing cancels the call in any case."""


class ModelLoopEnded(HubError):
    """The event loop of a model has ended although the instance has not: the model's code stopped it."""

    code = "model_loop_ended"
    title = "The event loop of the model has ended"

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model = model
        self.reason = reason

    @override
    def __str__(self) -> str:
        return (
            f"the event loop of model {self.model} has ended: {self.reason}; the code of the model must not stop the loop "
            "that it runs in"
        )


class _Call:
    """One call on its way into the loop and back.

    The caller's thread writes `cancelled`; the thread of the loop writes `scope`, and `value` or `error` before it hands
    the call back.
    """

    __slots__ = ("args", "cancelled", "context", "done", "error", "function", "put_at", "scope", "seconds", "value")

    def __init__(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...], seconds: float) -> None:
        self.function = function
        self.args = args
        self.seconds = seconds
        self.put_at = current_time()
        self.context = copy_context()
        self.done = Event()
        self.scope: CancelScope | None = None
        self.cancelled = False
        self.value: object = None
        self.error: BaseException | None = None


class _Cancelled(Exception):
    """A call ended because its scope, or the loop, was cancelled."""


class _Runner:
    """An idle task of the loop that waits for its next call."""

    __slots__ = ("_call", "_handed")

    def __init__(self) -> None:
        self._call: _Call | None = None
        self._handed = Event()

    def hand(self, call: _Call) -> None:
        self._call = call
        self._handed.set()

    async def wait(self) -> None:
        """Waits for a call, which `take` returns."""
        await self._handed.wait()

    def take(self) -> _Call | None:
        """The call that was handed over since the last `take`."""
        call, self._call, self._handed = self._call, None, Event()
        return call


def _ignore(_ended: Event) -> None: ...


def _not_at_all() -> float:
    return 0.0


@final
class OwnLoop(AsyncContextManagerMixin):
    """Runs coroutines in an event loop of the same backend in another thread, while its block runs.

    Cancellation, deadlines, context variables and errors cross over. Leaving the block cancels what still runs there; a
    thread that computes is abandoned after `END_GRACE` seconds.

    Args:
        name: The model's, for errors and for names of tasks.

    Attributes:
        token: Of the loop; `None` before it runs.

    Raises:
        ModelLoopEnded: In an `ExceptionGroup`: the loop ended by itself, because code in it stopped it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inbox: Crossing[_Call] = Crossing()
        self._outbox: Crossing[_Call] = Crossing()
        self._calls: set[_Call] = set()
        self._scope = CancelScope(shield=True)
        self._ended = Event()
        self._needed = Event()
        self._submitted = Notifier()
        self._held_up: Callable[[], float] = _not_at_all
        self._closing = False
        self._thread_began = False
        self._takes_calls = True
        self._idle: list[_Runner] = []
        self.token: EventLoopToken | None = None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._work, name=f"hub.model loop {self._name}")
                try:
                    yield self
                finally:
                    self._closing = True
                    self._needed.set()
                    self._inbox.close()
                    with move_on_after(END_GRACE, shield=True):
                        await self._ended.wait()
                    self._scope.cancel("the loop of the model is not needed any more")
        finally:
            self._inbox.close()
            self._outbox.close_reader()
            if not self._thread_began:
                self._inbox.close_reader()
                self._outbox.close()

    async def call(
        self,
        function: Callable[..., Awaitable[T]],
        *args: object,
        on_abandoned: Callable[[Event], None] = _ignore,
    ) -> T:
        """Awaits `function(*args)` in the loop, in a copy of the caller's context variables and under its deadline.

        Cancelling the caller cancels the call. It is then waited for, for `CANCEL_GRACE` seconds: what it still returns
        or raises counts, as it would in the same loop.

        Args:
            function: Makes the awaitable; called in the loop.
            args: Its arguments.
            on_abandoned: Called with an event when a cancelled call goes on for longer; the event is set when it ends.

        Raises:
            BaseException: Whatever `function` raised.
            ModelLoopEnded: The loop has ended.
        """
        if self._ended.is_set():
            raise ModelLoopEnded(self._name, "it takes no more calls")
        self._needed.set()
        call = _Call(function, args, current_effective_deadline() - current_time())
        self._calls.add(call)
        self._put(call)
        try:
            await call.done.wait()
        except get_cancelled_exc_class():  # noqa: ASYNC103 - as in one loop, what the call makes of it counts
            call.cancelled = True
            self._put(call)
            if call.scope is not None:  # else the loop is busy and has not begun with it: it will not either
                with move_on_after(CANCEL_GRACE, shield=True):
                    await call.done.wait()
            if not call.done.is_set():
                if call.scope is not None:
                    on_abandoned(call.done)
                raise
            if isinstance(call.error, _Cancelled):
                raise
        if isinstance(call.error, _Cancelled):
            await checkpoint_if_cancelled()  # its copy of our deadline may pass a moment before ours does
            raise ModelLoopEnded(self._name, "it was stopped")
        return cast("T", _result(call))  # what `function` returned

    def _put(self, call: _Call) -> None:
        self._inbox.append(call)
        self._submitted.notify()

    async def _send(self) -> None:
        """Wakes the loop once for all calls of one turn of this loop: a wake-up for each would let the threads take turns."""
        while True:
            self._inbox.wake()
            await self._submitted.wait()

    def busy_seconds(self) -> float:
        """For how long code of the model has held the loop up; 0 below a second, and while the loop does not run."""
        held_up = self._held_up()
        return held_up if held_up > LIMIT else 0.0

    def seconds_behind(self) -> float:
        """For how long the loop has not taken a call; 0 if it takes them as they come."""
        now = current_time()
        return max((now - call.put_at for call in self._calls if call.scope is None), default=0.0)

    async def _work(self) -> None:
        """Keeps the thread, shielded: a cancellation from outside reaches the calls first, then the block ends the loop."""
        reason = "its code stopped it"
        with self._scope:
            await self._needed.wait()  # a model of plain functions never needs it
            if not self._closing:
                async with create_task_group() as tg:
                    sender = tg.start_soon(self._send, name=f"hub.model loop {self._name} calls")
                    tg.start_soon(self._receive, name=f"hub.model loop {self._name} results")
                    try:
                        await run_sync(
                            self._thread, current_async_library(), abandon_on_cancel=True, limiter=CapacityLimiter(1)
                        )
                    except Exception as error:  # noqa: BLE001 - any error of the loop itself means that it is gone
                        reason = f"{type(error).__qualname__}: {error}"
                    sender.cancel()
        self._ended.set()
        for call in self._calls:
            call.error = ModelLoopEnded(self._name, reason)
            call.done.set()
        self._calls.clear()
        if not self._closing:
            raise ModelLoopEnded(self._name, reason)

    async def _receive(self) -> None:
        """Hands the results of calls to those who wait for them, until the thread has ended."""
        while (calls := await self._outbox.receive()) is not None:
            for call in calls:
                self._calls.discard(call)
                call.done.set()

    def _thread(self, backend: str) -> None:
        self._thread_began = True
        before = rename(f"{FOREIGN}{self._name} loop")
        options: dict[str, Any] = {"loop_factory": ProcessLoop} if backend == "asyncio" else {}
        try:
            anyio.run(self._main, backend=backend, backend_options=options)
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"it was ended by {type(error).__name__}") from error  # noqa: ASYNC104 - the loop is gone
        finally:
            rename(before)
            self._inbox.close_reader()
            self._outbox.close()

    async def _main(self) -> None:
        self.token = current_token()
        async with watch_loop(f"model {self._name}", of_model=True) as held_up, create_task_group() as tg:
            self._held_up = held_up
            try:
                while (calls := await self._inbox.receive()) is not None:
                    for call in calls:
                        self._take(call, tg)
            finally:
                self._takes_calls = False
                self._held_up = _not_at_all
            tg.cancel_scope.cancel("the instance stops")

    def _take(self, call: _Call, tg: TaskGroup) -> None:
        """Starts a call, or cancels it: a cancelled one comes a second time."""
        if call.scope is not None:
            call.scope.cancel("the caller was cancelled")
            return
        call.scope = CancelScope(
            deadline=current_time() + call.seconds + DEADLINE_MARGIN if call.seconds < inf else inf
        )
        if self._idle:
            self._idle.pop().hand(call)
        else:
            tg.start_soon(self._run_calls, call, tg, name=f"hub.model call {self._name}")

    async def _run_calls(self, call: _Call, tg: TaskGroup) -> None:
        """Carries out one call after the other: to start a task for each costs more than most calls.

        The task ends after a call that was cancelled: what is left of the cancellation must not reach the next one.
        """
        runner = _Runner()
        while await self._run(call):
            self._idle.append(runner)
            try:
                await runner.wait()
            except get_cancelled_exc_class():  # noqa: ASYNC103 - passed on when it is ours
                ends, handed = current_effective_deadline() == -inf, runner.take()
                if handed is None:
                    self._idle.remove(runner)
                elif ends:
                    handed.error = _Cancelled()
                    self._outbox.put(handed)
                else:
                    tg.start_soon(self._run_calls, handed, tg, name=f"hub.model call {self._name}")
                if ends:
                    raise
                return  # noqa: ASYNC104 - the model has cancelled the task that it ran in, by the means of asyncio, and returned
            handed = runner.take()
            assert handed is not None  # noqa: S101 - else it would wait
            call = handed

    async def _run(self, call: _Call) -> bool:
        """Carries out a call; whether nothing has cancelled it."""
        assert call.scope is not None  # noqa: S101 - see _take
        call.error = _Cancelled()  # until there is something else to tell
        try:
            with call.scope:
                if not call.cancelled:
                    await self._await(call)
            return not call.scope.cancel_called and not isinstance(call.error, get_cancelled_exc_class())
        finally:
            self._outbox.put(call)

    async def _await(self, call: _Call) -> None:
        try:
            call.value = await InContext(call.context, call.function, call.args)
            call.error = None
        except get_cancelled_exc_class() as error:  # noqa: ASYNC103 - passed on when it is ours
            if current_effective_deadline() == -inf:
                raise
            await checkpoint()  # noqa: ASYNC102 - nothing is cancelled but perhaps the loop, which `_main` gets to know now
            if self._takes_calls:
                call.error = error
        except BaseException as error:  # noqa: BLE001 - to be raised where the call was made
            call.error = error


def _result(call: _Call) -> object:
    error = call.error
    call.error = None  # the traceback of a raised error refers to its frames: no cycle through `call`
    if error is None:
        return call.value
    try:
        raise error
    finally:
        del error
