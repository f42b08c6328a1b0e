"""The sending half of a measurement, as a process that is driven over standard input: a line is a command, and has one line of reply.

`{"tasks": 5000, "in_flight": 200, "size": 100}` sends tasks and replies when each has been answered, with seconds, rate and the
latency of single tasks. `{"check": true}` replies with what was not exactly once. The process ends with its standard input.
It runs in hub's environment and in that of the peers, so it needs only anyio.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from time import perf_counter
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from anyio.to_thread import run_sync

from benchmarks.peers.ledger import Ledger

Handle = TypeVar("Handle")

Call: TypeAlias = Callable[[str, float], Awaitable[str]]
"""Sends a body and returns the reply. The number is the pause between two looks for the result, for systems that poll."""

POLL_ALONE: Final = 0.001
POLL_MANY: Final = 0.05
"""Seconds. With 200 tasks in flight each takes longer than this."""

FINAL: Final = 20
"""Tasks that are sent before a check, so that a second run of an earlier task shows as a gap."""


def drive(opened: Callable[[], AbstractAsyncContextManager[Call]], backend: str = "asyncio") -> None:
    """Drives a client with coroutines."""
    options = {"use_uvloop": True} if backend == "asyncio" and find_spec("uvloop") else {}
    anyio.run(serve, opened, backend=backend, backend_options=options)


def drive_in_threads(submit: Callable[[str], Handle], result: Callable[[Handle], str], threads: int = 8) -> None:
    """Drives a blocking client: each thread has its share of the tasks in flight, and waits for the oldest one."""
    ledger = Ledger()

    def share(tasks: int, window: int, size: int) -> list[float]:
        times: list[float] = []
        pending: deque[tuple[str, Handle, float]] = deque()
        for number in range(tasks + window):
            if number < tasks:
                body = ledger.body(size)
                began = perf_counter()
                pending.append((body, submit(body), began))
            if pending and (len(pending) >= window or number >= tasks):
                body, handle, began = pending.popleft()
                reply = result(handle)
                times.append(perf_counter() - began)
                ledger.note(body, reply)
        return times

    with ThreadPoolExecutor(threads) as pool:
        say({"ready": True})
        for line in sys.stdin:
            command = json.loads(line)
            if command.get("check"):
                share(FINAL, 1, 100)
                say({"sent": ledger.sent, "problems": ledger.problems()})
                continue
            parts = min(threads, command["in_flight"])
            shares = [len(range(part, command["tasks"], parts)) for part in range(parts)]
            began = perf_counter()
            futures = [pool.submit(share, tasks, command["in_flight"] // parts, command["size"]) for tasks in shares]
            times = [seconds for future in futures for seconds in future.result()]
            say(summary(times, perf_counter() - began))


async def serve(opened: Callable[[], AbstractAsyncContextManager[Call]]) -> None:
    """Drives a client until standard input ends."""
    ledger = Ledger()
    async with opened() as call:
        say({"ready": True})
        while line := await run_sync(sys.stdin.readline, abandon_on_cancel=True):
            command = json.loads(line)
            if command.get("check"):
                await _load(call, ledger, FINAL, 1, 100)
                say({"sent": ledger.sent, "problems": ledger.problems()})
            else:
                say(await _load(call, ledger, command["tasks"], command["in_flight"], command["size"]))


async def _load(call: Call, ledger: Ledger, tasks: int, in_flight: int, size: int) -> dict[str, Any]:
    times: list[float] = []
    numbers = iter(range(tasks))
    poll = POLL_ALONE if in_flight == 1 else POLL_MANY

    async def caller() -> None:
        for _ in numbers:
            body = ledger.body(size)
            began = perf_counter()
            reply = await call(body, poll)
            times.append(perf_counter() - began)
            ledger.note(body, reply)

    began = perf_counter()
    async with anyio.create_task_group() as tg:
        for _ in range(in_flight):
            tg.start_soon(caller)
    return summary(times, perf_counter() - began)


def summary(times: Sequence[float], seconds: float) -> dict[str, Any]:
    ordered = sorted(times)
    cuts = {share: ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 90, 99)}
    milliseconds = {f"p{share}": round(cut * 1000, 3) for share, cut in cuts.items()}
    return {"tasks": len(times), "seconds": round(seconds, 4), "rate": round(len(times) / seconds, 1), **milliseconds}


def say(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
