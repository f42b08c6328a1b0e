"""Logs code that blocks an event loop for longer than a second: model, function and line, once per case.

A task on the loop stores a timestamp. A thread reads it, and if it is old, the stack of the loop's thread. Code in C that
keeps the interpreter's lock (the GIL) stops that thread too. The thread detects it afterwards: it was late itself, and it
was awake all the time, requesting the lock every few milliseconds. In a process that was stopped (SIGSTOP, a suspended
machine, no CPU left) the thread is late as well, but was not awake, so no code is reported.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from resource import RUSAGE_THREAD, getrusage
from time import monotonic
from types import FrameType
from typing import Final, final

import structlog
from anyio import CancelScope, create_task_group, sleep
from structlog.typing import FilteringBoundLogger

from hub.concurrency.threads import Wait, current_thread, daemon
from hub.observability.code_origin import Origin, model_of, module_of, origin_of
from hub.safe_text import printable

LIMIT: Final = 1.0
"""Seconds that a loop may be blocked before it is logged."""

PERIOD: Final = 0.25
"""Seconds between two timestamps, and between two reads of them."""

CASES: Final = 256
"""Cases that are remembered; the oldest is removed, and may be logged again."""

AWAKE: Final = 0.1
"""Share of the requests for the interpreter's lock, one per switch interval, above which the thread was awake."""

_STACK: Final = 10_000
"""Frames of a stack that are read."""

_LOOP: Final = "the event loop is blocked: pings, heartbeats and all other tasks wait"
_MODEL_LOOP: Final = "the event loop of the model is blocked: its other tasks wait, pings and heartbeats do not"
_LOCK: Final = "the interpreter's lock was kept: no other code of this process ran"
_REPAIR: Final = {
    _LOOP: "compute in a plain def, or in anyio.to_thread.run_sync",
    _MODEL_LOOP: "compute in a plain def, or in anyio.to_thread.run_sync",
    _LOCK: "set run_in_process = True in the model: C code that keeps the lock stops everything in its process",
}

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """A case, which is logged once. Unknown attributes are empty, as is `model` if the code belongs to no model."""

    what: str
    model: str
    function: str
    where: str
    by_author: bool


@final
class Stalls:
    """The cases of this process, from all its watches."""

    def __init__(self, limit: int = CASES) -> None:
        self._limit = limit
        self._logged: dict[Case, None] = {}
        self.count = 0

    def add(self, case: Case) -> bool:
        """Counts a case; returns whether it is to be logged."""
        self.count += 1
        if case in self._logged:
            return False
        self._logged[case] = None
        if len(self._logged) > self._limit:
            del self._logged[next(iter(self._logged))]
        return True


STALLS: Final = Stalls()


@asynccontextmanager
async def watch_loop(
    name: str = "main", *, of_model: bool = False, stalls: Stalls = STALLS
) -> AsyncGenerator[Callable[[], float]]:
    """Watches the event loop that this runs in, until the block ends; also when the block is cancelled and cleans up.

    Yields a function that returns for how many seconds the loop has been held up, from any thread.

    A process may have several loops, each in a thread of its own and with a watch of its own. The watching thread is a
    daemon: it ends with the block at once, and never keeps a process alive.

    Args:
        name: Name of the loop in the log.
        of_model: Whether only code of one model runs in it.
        stalls: The collection of the cases.

    Raises:
        ExceptionGroup: Around the errors of the block.
    """
    watch = _Watch(name, current_thread(), stalls, what=_MODEL_LOOP if of_model else _LOOP)
    async with create_task_group() as tg:
        beating = CancelScope(shield=True)
        tg.start_soon(watch.beat, beating, name=f"hub.observability.watchdog {name}")
        try:
            with daemon(watch.observe, name=f"hub.observability.watchdog {name}"):
                yield watch.held_up
        finally:
            beating.cancel("the block has ended")


@final
class _Watch:
    def __init__(self, name: str, thread: int, stalls: Stalls, *, what: str) -> None:
        self._name = name
        self._what = what
        self._thread = thread
        self._stalls = stalls
        self._stamp = monotonic()
        self._outside: frozenset[int] = frozenset()
        self._positions: dict[int, tuple[int, int]] = {}
        self._seen_late: Case | None = None

    async def beat(self, scope: CancelScope) -> None:
        # The frames outside of this task belong to the loop and its caller: they are on the stack of every task.
        self._outside = frozenset(id(frame) for frame in _up(_stacks()[self._thread], frozenset()))
        with scope:
            while True:
                now = monotonic()
                if now - self._stamp - PERIOD > LIMIT:  # this may be the first code that runs after the lock was kept
                    frames = _stacks()
                    del frames[self._thread]
                    self._seen_late = self._suspect(frames)
                self._stamp = now
                await sleep(PERIOD)

    def held_up(self) -> float:
        return max(0.0, monotonic() - self._stamp - PERIOD)

    def observe(self, wait: Wait) -> None:
        """Runs in the thread."""
        since = observed = monotonic()
        logged = 0.0
        woken = _times_woken()
        self._positions = _positions(_stacks())
        while not wait(PERIOD):
            frames = _stacks()  # first of all, see `_suspect`
            now, stamp = monotonic(), self._stamp
            late = now - observed - PERIOD
            if late > LIMIT:  # all threads were
                tries = late / sys.getswitchinterval()
                if _times_woken() - woken > AWAKE * tries:
                    case = self._suspect(frames)
                    self._log_case(case if case.by_author or self._seen_late is None else self._seen_late, late)
                since = now
            elif now - max(since, stamp) > LIMIT and stamp != logged:
                logged = stamp
                self._log_case(
                    _case(self._what, [frame] if (frame := frames.get(self._thread)) else [], self._outside),
                    now - max(since, stamp),
                )
            observed, woken = now, _times_woken()
            self._positions, self._seen_late = _positions(frames), None
            del frames

    def _suspect(self, frames: Mapping[int, FrameType]) -> Case:
        """The thread that has kept the lock: one whose position has changed, unlike that of a waiting thread.

        It releases the lock right after its call of C code, and is still at that line when this is called at once.
        """
        now = _positions(frames)
        moved = [
            thread for thread in frames if now[thread] != self._positions.get(thread) and thread != current_thread()
        ]
        moved.sort(key=lambda thread: thread != self._thread)
        return _case(_LOCK, [frames[thread] for thread in moved], self._outside)

    def _log_case(self, case: Case, seconds: float) -> None:
        if not self._stalls.add(case):
            return
        known = {"model": case.model, "function": case.function, "where": case.where}
        _log.warning(
            case.what,
            loop=self._name,
            **{key: value for key, value in known.items() if value},
            seconds=round(seconds, 2),
            **({"repair": _REPAIR[case.what]} if case.by_author or case.what is _LOCK else {}),
        )


def _stacks() -> dict[int, FrameType]:
    """The innermost frame of each thread. The function is documented, for debuggers."""
    return sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _positions(frames: Mapping[int, FrameType]) -> dict[int, tuple[int, int]]:
    return {thread: (id(frame), frame.f_lasti) for thread, frame in frames.items()}


def _times_woken() -> int:
    """The number of voluntary context switches of this thread."""
    return getrusage(RUSAGE_THREAD).ru_nvcsw


def _case(what: str, stacks: Iterable[FrameType], outside: Collection[int]) -> Case:
    """The innermost code of an author in any of the stacks; otherwise that of hub in the first, or any code there."""
    all_stacks = [list(_up(stack, outside)) for stack in stacks]
    for stack in all_stacks:
        for depth, frame in enumerate(stack):
            if origin_of(frame) is Origin.AUTHOR:
                named = (model_of(each) for each in stack[depth:] if origin_of(each) is Origin.AUTHOR)
                return _describe(what, frame, next(filter(None, named), ""), by_author=True)
    for stack in filter(None, all_stacks[:1] if what is not _LOCK else ()):  # any thread may have had the lock
        ours = (frame for frame in stack if module_of(frame).startswith("hub."))
        return _describe(what, next(ours, stack[0]), "", by_author=False)
    return Case(what, "", "", "", by_author=False)


def _describe(what: str, frame: FrameType, model: str, *, by_author: bool) -> Case:
    function = printable(f"{module_of(frame)}.{frame.f_code.co_qualname}", 200)
    where = f"{printable(frame.f_code.co_filename, 500)}:{frame.f_lineno}"
    return Case(what, model, function, where, by_author)


def _up(frame: FrameType | None, outside: Collection[int]) -> Iterator[FrameType]:
    """The frames of a stack, innermost first, up to those that are outside."""
    for _ in range(_STACK):
        if frame is None or id(frame) in outside:
            return
        yield frame
        frame = frame.f_back
