"""Virtual time on both backends: when every task waits, the clock jumps to the moment at which the next one continues.

Trio has `MockClock` for this. For asyncio `VirtualTimeLoop` does the same: where another loop waits in its selector for a
timer, it advances its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from inspect import isasyncgenfunction, iscoroutinefunction
from math import inf, nextafter
from selectors import BaseSelector, DefaultSelector, SelectorKey
from typing import TYPE_CHECKING, Final, final

from anyio import current_time
from sniffio import current_async_library
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.model.model import AnyModel, Model
from hub.types import Backend, WallClock

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

BEGINNING: Final = 1_767_225_600.0
"""Unix time at second 0 of virtual time: 2026-01-01 00:00 UTC."""

_METHODS: Final = ("process_request", "process_batch", "setup", "teardown")


class VirtualTimeUnavailable(ConfigurationError):
    """Virtual time was requested where time is real: the event loop of the test has an ordinary clock, or a thread computes."""

    code = "virtual_time_unavailable"
    title = "No virtual time here"

    def __init__(self, reason: str, repair: str) -> None:
        super().__init__(reason, repair)
        self.reason = reason
        self.repair = repair

    @override
    def __str__(self) -> str:
        return f"no virtual time: {self.reason}; {self.repair}"


@final
class _JumpingSelector(BaseSelector):
    """A selector that never waits for a timer: it advances `now` instead, unless a file is ready."""

    def __init__(self) -> None:
        self.now = 0.0
        self._selector = DefaultSelector()

    @override
    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> SelectorKey:
        return self._selector.register(fileobj, events, data)

    @override
    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._selector.unregister(fileobj)

    @override
    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:
            return self._selector.select()  # no timer: only a thread or a file can end this
        ready = self._selector.select(0)
        if not ready and timeout > 0:
            # Just beyond it: asyncio runs a timer when the time is past it, plus a nanosecond, which rounding may swallow.
            self.now = nextafter(self.now + timeout, inf)
        return ready

    @override
    def close(self) -> None:
        self._selector.close()

    @override
    def get_map(self) -> Mapping[FileDescriptorLike, SelectorKey]:
        return self._selector.get_map()


@final
class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock begins at 0 and jumps to the next timer whenever all tasks wait.

    A wait for a thread, a process or a socket counts as waiting: a timeout around it passes at once.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.now


def virtual_backend(backend: Backend) -> tuple[str, dict[str, object]]:
    """A backend in virtual time, as the fixture `anyio_backend` returns it, or as arguments of `anyio.run`.

    ```python
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
        return hub.testing.virtual_backend(request.param)
    ```

    Each one is for one event loop.
    """
    if backend == "asyncio":
        return backend, {"loop_factory": VirtualTimeLoop}
    from trio.testing import MockClock  # noqa: PLC0415 - tests on asyncio need no trio

    return backend, {"clock": MockClock(autojump_threshold=0)}


def virtual_clock(models: Sequence[type[AnyModel]]) -> WallClock:
    """The Unix time of the running event loop, which is in virtual time.

    Raises:
        VirtualTimeUnavailable: It is not, or one of the models computes in a thread or a process, whose time is real.
    """
    if not in_virtual_time():
        raise VirtualTimeUnavailable(
            "the event loop of this test has a real clock",
            "let the fixture anyio_backend return hub.testing.virtual_backend('asyncio') or ('trio')",
        )
    for model in models:
        if model.run_in_process:
            raise VirtualTimeUnavailable(f"{model.name} has run_in_process", "test it in real time")
        for name in _METHODS:
            method = getattr(model, name)
            plain = not (iscoroutinefunction(method) or isasyncgenfunction(method))
            if plain and method is not getattr(Model, name):
                raise VirtualTimeUnavailable(
                    f"{name} of {model.name} is a plain def, which runs in a thread",
                    "write it as `async def`, or test the model in real time",
                )
    return lambda: BEGINNING + current_time()


def in_virtual_time() -> bool:
    """Whether the running event loop has a virtual clock."""
    if current_async_library() == "asyncio":
        return isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    from trio.lowlevel import current_clock  # noqa: PLC0415
    from trio.testing import MockClock  # noqa: PLC0415

    return isinstance(current_clock(), MockClock)
