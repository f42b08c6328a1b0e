"""The goals that the run can judge, each beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.peers.figures import Figures
from benchmarks.peers.runs import CHUNKS_PER_SECOND, IDEAL, SLOTS, STREAMS
from benchmarks.peers.systems import HTTP, QUEUES

BACKENDS: Final = ("asyncio", "trio")

RATE_TO_TASKIQ: Final = 6.0
PYTHON_CPU: Final = 150.0
REDIS_CPU: Final = 35.0
TRIO_TO_ASYNCIO: Final = 0.85
TAIL: Final = 3.0
CALLS_TO_FASTAPI: Final = 4.0
CALLS_TO_LITESTAR: Final = 0.25
SUBMITS_TO_LITESTAR: Final = 0.4
CHUNK_CPU: Final = 60.0
KEPT_UP: Final = 0.95
NAPS_OF_IDEAL: Final = 0.9


def goals(figures: Figures) -> Sequence[Sequence[str]]:
    """Rows: what, the goal, what was measured, whether it is reached."""
    return [*_queue(figures), *_http(figures)]


def _queue(figures: Figures) -> Iterator[Sequence[str]]:
    for backend in BACKENDS:
        hub = f"hub-{backend}"
        yield _at_least(
            f"tasks/s, {backend}",
            f">= {RATE_TO_TASKIQ:g}x taskiq",
            _ratio(figures, "many", hub, "taskiq"),
            RATE_TO_TASKIQ,
        )
        yield _ahead(figures, hub, backend)
        python = figures.cpu("many", hub, "client", "worker")
        yield _at_most(f"CPU of our Python per task, {backend}", f"<= {PYTHON_CPU:g} us", python, PYTHON_CPU, "us")
        yield _at_most(
            f"CPU of Redis per task, {backend}",
            f"<= {REDIS_CPU:g} us",
            figures.cpu("many", hub, "store"),
            REDIS_CPU,
            "us",
        )
    yield _at_least(
        "trio / asyncio, tasks/s",
        f">= {TRIO_TO_ASYNCIO:g}x",
        _ratio(figures, "many", "hub-trio", "hub-asyncio"),
        TRIO_TO_ASYNCIO,
    )
    for backend in BACKENDS:
        hub = f"hub-{backend}"
        against = figures.ratio("alone", hub, "dramatiq", lambda result: result.p50)
        yield _at_most(
            f"one at a time, p50, {backend}", "<= dramatiq's", None if against is None else against.middle, 1.0, "x"
        )
        tail = [each.p99 / each.p50 for each in figures.of("alone", hub) if each.p50]
        yield _at_most(
            f"one at a time, p99, {backend}",
            f"<= {TAIL:g}x p50",
            sorted(tail)[len(tail) // 2] if tail else None,
            TAIL,
            "x",
        )
        slots = _ratio(figures, "slots", hub, "repid-bare")
        yield _at_least(f"{SLOTS:,} tasks of 10 ms in flight, {backend}", ">= repid without results", slots, 1.0)
        naps = figures.spread("naps", hub, lambda result: IDEAL / result.seconds)
        yield _at_least(
            f"1,000 sleeps of 100 ms, 100 at a time, {backend}",
            f">= {NAPS_OF_IDEAL:g} of ideal",
            None if naps is None else naps.middle,
            NAPS_OF_IDEAL,
        )


def _http(figures: Figures) -> Iterator[Sequence[str]]:
    for backend in BACKENDS:
        hub = f"hub-{backend}"
        yield _at_least(
            f"HTTP call, {backend}",
            f">= {CALLS_TO_FASTAPI:g}x FastAPI + taskiq",
            _ratio(figures, "call", hub, "fastapi"),
            CALLS_TO_FASTAPI,
        )
        yield _at_least(
            f"HTTP call, {backend}",
            f">= {CALLS_TO_LITESTAR:g}x bare Litestar",
            _ratio(figures, "call", hub, "litestar"),
            CALLS_TO_LITESTAR,
        )
        submits = figures.ratio("submit", hub, "litestar", beside="call")
        share = None if submits is None else submits.middle
        yield _at_least(
            f"HTTP submit, {backend}", f">= {SUBMITS_TO_LITESTAR:g}x bare Litestar", share, SUBMITS_TO_LITESTAR
        )
        chunk = figures.cpu("streams", hub, "server", "streamer")
        yield _at_most(f"a chunk of 100 B, our CPU, {backend}", f"<= {CHUNK_CPU:g} us", chunk, CHUNK_CPU, "us")
        rate = figures.spread("streams", hub)
        asked = STREAMS * CHUNKS_PER_SECOND
        reached = None if rate is None else rate.middle / asked
        yield _at_least(
            f"{STREAMS} streams of {CHUNKS_PER_SECOND} chunks/s, {backend}", "all of them keep up", reached, KEPT_UP
        )


def _ahead(figures: Figures, hub: str, backend: str) -> Sequence[str]:
    """Against every peer that stores its results."""
    peers = [each for each in QUEUES if each.store and not each.key.startswith("hub")]
    ratios = {each.name: _ratio(figures, "many", hub, each.key) for each in peers}
    found = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not found:
        return [f"tasks/s, {backend}", "ahead of every peer that stores results", "not measured", ""]
    nearest = min(found, key=found.__getitem__)
    missing = [name for name in ratios if name not in found]
    text = f"{found[nearest]:.2f}x {nearest}, the nearest" + (
        f"; not measured: {', '.join(missing)}" if missing else ""
    )
    return [
        f"tasks/s, {backend}",
        "ahead of every peer that stores results",
        text,
        "reached" if found[nearest] > 1 else "no",
    ]


def _ratio(figures: Figures, scenario: str, system: str, other: str) -> float | None:
    found = figures.ratio(scenario, system, other)
    return None if found is None else found.middle


def _at_least(what: str, goal: str, measured: float | None, bound: float) -> Sequence[str]:
    if measured is None:
        return [what, goal, "not measured", ""]
    return [what, goal, f"{measured:.2f}x", "reached" if measured >= bound else "no"]


def _at_most(what: str, goal: str, measured: float | None, bound: float, unit: str) -> Sequence[str]:
    if measured is None:
        return [what, goal, "not measured", ""]
    text = f"{measured:.2f}x" if unit == "x" else f"{measured:.0f} {unit}"
    return [what, goal, text, "reached" if measured <= bound else "no"]


assert {"fastapi", "litestar"} <= {each.key for each in HTTP}
