"""Goals that the comparison with other systems measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.goals.goal import Goal, Measure
from benchmarks.goals.measured import Figure, Measured
from benchmarks.peers.runs import CHUNKS_PER_SECOND, IDEAL, SLOTS, STREAMS, Result
from benchmarks.peers.systems import QUEUES

_COMMAND: Final = "peers"
_AHEAD: Final = [each for each in QUEUES if each.store and not each.key.startswith("hub")]


def _rate(scenario: str, other: str, *, beside: str = "") -> Measure:
    """The rate of hub over that of another system, in the same round."""

    def measure(measured: Measured, backend: str) -> Figure | None:
        found = measured.peers.ratio(scenario, f"hub-{backend}", other, beside=beside)
        return None if found is None else Figure(found.middle, f"{found.middle:.2f}x")

    return measure


def _cpu(scenario: str, *roles: str) -> Measure:
    """CPU of some processes per task."""

    def measure(measured: Measured, backend: str) -> Figure | None:
        found = measured.peers.cpu(scenario, f"hub-{backend}", *roles)
        return None if found is None else Figure(found, f"{found:.0f} us")

    return measure


def _middle(scenario: str, value: Callable[[Result], float]) -> Measure:
    """The median of what is formed of each result."""

    def measure(measured: Measured, backend: str) -> Figure | None:
        found = measured.peers.spread(scenario, f"hub-{backend}", value)
        return None if found is None else Figure(found.middle, f"{found.middle:.2f}x")

    return measure


def ahead(measured: Measured, backend: str) -> Figure | None:
    """The rate over that of the nearest peer that stores results. All of them have to be measured."""
    ratios: dict[str, float] = {}
    for each in _AHEAD:
        found = measured.peers.ratio("many", f"hub-{backend}", each.key)
        if found is None:
            return None
        ratios[each.name] = found.middle
    nearest = min(ratios, key=ratios.__getitem__)
    return Figure(ratios[nearest], f"{ratios[nearest]:.2f}x {nearest}")


def alone(measured: Measured, backend: str) -> Figure | None:
    """The median round trip over dramatiq's."""
    found = measured.peers.ratio("alone", f"hub-{backend}", "dramatiq", lambda result: result.p50)
    own = measured.peers.spread("alone", f"hub-{backend}", lambda result: result.p50)
    return None if found is None or own is None else Figure(found.middle, f"{found.middle:.2f}x, {own.middle:.2f} ms")


def trio(measured: Measured, _backend: str) -> Figure | None:
    """The rate on trio over that on asyncio."""
    found = measured.peers.ratio("many", "hub-trio", "hub-asyncio")
    return None if found is None else Figure(found.middle, f"{found.middle:.2f}x")


def _tail(result: Result) -> float:
    return result.p99 / result.p50 if result.p50 else 0.0


TASKS: Final[Sequence[Goal]] = (
    Goal(
        key="rate",
        what="100 B echo, submit to stored outcome, tasks/s",
        goal=">= 6x taskiq",
        bound=6.0,
        at_most=False,
        command=_COMMAND,
        measure=_rate("many", "taskiq"),
    ),
    Goal(
        key="ahead",
        what="100 B echo, tasks/s",
        goal="> every peer that stores results",
        bound=1.0,
        at_most=False,
        command=_COMMAND,
        measure=ahead,
    ),
    Goal(
        key="slots",
        what=f"{SLOTS:,} tasks of 10 ms in flight, tasks/s",
        goal="> repid, which stores nothing",
        bound=1.0,
        at_most=False,
        command=_COMMAND,
        measure=_rate("slots", "repid-bare"),
    ),
    Goal(
        key="cpu-python",
        what="CPU of our Python per task: client and worker",
        goal="<= 150 us",
        bound=150.0,
        command=_COMMAND,
        measure=_cpu("many", "client", "worker"),
    ),
    Goal(
        key="cpu-redis",
        what="CPU of Redis per task",
        goal="<= 35 us",
        bound=35.0,
        command=_COMMAND,
        measure=_cpu("many", "store"),
    ),
    Goal(
        key="trio",
        what="trio against asyncio, tasks/s",
        goal=">= 0.85x",
        bound=0.85,
        at_most=False,
        command=_COMMAND,
        measure=trio,
        backends=("trio",),
    ),
    Goal(
        key="alone",
        what="round trip one at a time, p50",
        goal="<= 1x dramatiq",
        bound=1.0,
        command=_COMMAND,
        measure=alone,
    ),
    Goal(
        key="tail",
        what="round trip one at a time, p99",
        goal="<= 3x p50",
        bound=3.0,
        command=_COMMAND,
        measure=_middle("alone", _tail),
    ),
    Goal(
        key="naps",
        what="1,000 tasks of 100 ms sleep, 100 at a time, of the ideal rate",
        goal=">= 0.9x",
        bound=0.9,
        at_most=False,
        command=_COMMAND,
        measure=_middle("naps", lambda result: IDEAL / result.seconds),
    ),
    Goal(
        key="call-fastapi",
        what="HTTP synchronous call, 32 connections",
        goal=">= 4x FastAPI + taskiq",
        bound=4.0,
        at_most=False,
        command=_COMMAND,
        measure=_rate("call", "fastapi"),
    ),
    Goal(
        key="call-litestar",
        what="HTTP synchronous call, 32 connections",
        goal=">= 0.25x bare Litestar",
        bound=0.25,
        at_most=False,
        command=_COMMAND,
        measure=_rate("call", "litestar"),
    ),
    Goal(
        key="submit-litestar",
        what="HTTP submit: 202, confirmed, recorded",
        goal=">= 0.4x bare Litestar",
        bound=0.4,
        at_most=False,
        command=_COMMAND,
        measure=_rate("submit", "litestar", beside="call"),
    ),
    Goal(
        key="chunk",
        what="a streamed chunk of 100 B, our CPU from `yield` to the socket",
        goal="<= 60 us",
        bound=60.0,
        command=_COMMAND,
        measure=_cpu("streams", "server", "streamer"),
    ),
    Goal(
        key="streams",
        what=f"{STREAMS} streams of {CHUNKS_PER_SECOND} chunks/s, of what is asked for",
        goal=">= 0.95x",
        bound=0.95,
        at_most=False,
        command=_COMMAND,
        measure=_middle("streams", lambda result: result.rate / (STREAMS * CHUNKS_PER_SECOND)),
    ),
)
