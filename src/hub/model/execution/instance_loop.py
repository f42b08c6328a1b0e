"""Runs coroutines in the event loop of the instance, from wherever the code of its model runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar, cast, final

from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    Event,
    NoEventLoopError,
    create_task_group,
    from_thread,
    get_cancelled_exc_class,
)
from anyio.abc import TaskGroup
from anyio.lowlevel import EventLoopToken, current_token
from typing_extensions import override

from hub.model.errors import CallsUnavailable
from hub.model.execution.own_loop import ModelLoopEnded, OwnLoop
from hub.model.execution.wakeup import Crossing

T = TypeVar("T")


class _Order:
    """A coroutine function on its way into the instance's loop, and its result on the way back.

    The thread of the model writes `cancelled`; the thread of the instance writes `scope`, and `value` or `error` before
    `done` is set in the model's loop.
    """

    __slots__ = ("args", "cancelled", "done", "error", "function", "scope", "value")

    def __init__(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        self.function = function
        self.args = args
        self.done = Event()
        self.scope: CancelScope | None = None
        self.cancelled = False
        self.value: object = None
        self.error: BaseException | None = None

    async def hand_back(self) -> None:
        self.done.set()


@final
class InstanceLoop(AsyncContextManagerMixin):
    """The way from the code of a model back into the event loop of its instance, while its block runs.

    A model with an event loop of its own gets there by a `Crossing`, as `OwnLoop` gets to it, so neither loop ever
    blocks the other.

    Args:
        name: The model's, for names of tasks.
        loop: The event loop of the model, if it has one of its own.
    """

    def __init__(self, name: str, loop: OwnLoop | None) -> None:
        self._name = name
        self._loop = loop
        self._orders: Crossing[_Order] | None = None
        self._token: EventLoopToken | None = None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._token = current_token()
        if self._loop is None:
            yield self
            return
        self._orders = orders = Crossing[_Order]()
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._receive, self._loop, orders, tg, name=f"hub.model calls {self._name}")
                yield self
                tg.cancel_scope.cancel("no calls any more")
        finally:
            orders.close()
            orders.close_reader()

    async def run(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Awaits `function(*args)` in the loop of the instance. Cancelling the caller cancels it there.

        Raises:
            BaseException: Whatever it raised.
            CallsUnavailable: The caller runs in an event loop that hub does not know.
        """
        here = current_token()
        if here == self._token:
            return await function(*args)
        if self._loop is None or self._orders is None or here != self._loop.token:
            raise CallsUnavailable(
                "this is an event loop of the model's own making", "await the call in process_request itself"
            )
        order = _Order(function, args)
        self._orders.put(order)
        try:
            await order.done.wait()
        except get_cancelled_exc_class():
            order.cancelled = True
            self._orders.put(order)
            raise
        if order.error is not None:
            error, order.error = order.error, None  # no reference cycle through the traceback
            try:
                raise error
            finally:
                del error
        return cast("T", order.value)  # what `function` returned

    def run_from_thread(self, function: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """As `run`, from a thread, which blocks meanwhile."""
        with suppress(NoEventLoopError):
            current_token()
            raise CallsUnavailable("this thread runs an event loop, which the call would block", "await `call` instead")
        return from_thread.run(function, *args, token=self._token)

    async def _receive(self, loop: OwnLoop, crossing: Crossing[_Order], tg: TaskGroup) -> None:
        while (orders := await crossing.receive()) is not None:
            for order in orders:
                if order.scope is not None:
                    order.scope.cancel("the caller was cancelled")
                else:
                    order.scope = CancelScope()
                    tg.start_soon(self._carry_out, loop, order, name=f"hub.model call from {self._name}")

    async def _carry_out(self, loop: OwnLoop, order: _Order) -> None:
        assert order.scope is not None  # noqa: S101 - see _receive
        with order.scope:
            if not order.cancelled:
                try:
                    order.value = await order.function(*order.args)
                except Exception as error:  # noqa: BLE001 - raised where the call was made
                    order.error = error
        if not order.cancelled:
            with suppress(ModelLoopEnded):
                await loop.call(order.hand_back)
