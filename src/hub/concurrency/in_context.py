"""Awaits something in a context of its own, without a task of its own.

The problem: a task has one set of context variables for all of its life, and a task that carries out the calls of many
callers has to run each under the variables of its caller. Neither asyncio nor trio can change the context of a task; but
the code that drives a coroutine decides in which context each of its steps runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar, final

from typing_extensions import override

T = TypeVar("T")


@final
class InContext(Awaitable[T], Generic[T]):
    """`await InContext(context, function, args)` is `await function(*args)` with the variables of `context`.

    What `function` sets there stays in `context`. Tasks and threads that it starts get a copy of `context`, as usual.
    Cancellation reaches it where it waits.
    """

    __slots__ = ("_args", "_context", "_function")

    def __init__(self, context: Context, function: Callable[..., Awaitable[T]], args: tuple[object, ...]) -> None:
        self._context = context
        self._function = function
        self._args = args

    @override
    def __await__(self) -> Generator[Any, Any, T]:
        run = self._context.run
        steps = run(self._begin)
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = run(steps.send, value) if error is None else run(steps.throw, error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                error = None  # its traceback refers to this frame
            try:
                value = yield yielded
            except GeneratorExit:
                run(steps.close)
                raise
            except BaseException as thrown:  # noqa: ASYNC103, BLE001 - whatever it is, `function` gets it where it waits
                error = thrown

    def _begin(self) -> Generator[Any, Any, T]:
        return self._function(*self._args).__await__()
