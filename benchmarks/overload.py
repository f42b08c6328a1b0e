"""Twice the load that a system can carry, and what becomes of it: `make overload`, or a part of it with

    python -m benchmarks.overload --minutes 1 --backend trio --way embedded --short cpu

First the capacity, with `CLIENTS` callers that each wait for their answer; then the quiet latency, with a tenth of that;
then twice the capacity for the given minutes, offered at a steady rate whatever comes back; at last the quiet load again,
until its p95 is back. What is short is the places of a model that waits, or the CPU of hub under a model that does nothing.
The calls come from a process of their own that costs less than a server (`benchmarks.load_generator`). A line each thirty seconds: calls by what became of them, the latency of those that were served,
resident memory of each process, messages in the queue. Exits with 1 when a reply was none of 200, 429 and 503, when a
process ended or grew by more than `GROWTH`, when served calls took longer than `BOUND` at p99, or when the quiet latency
did not come back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import anyio
import msgspec
from anyio import create_task_group, current_time, fail_after, run_process, sleep
from anyio.to_thread import run_sync
from httpx2 import AsyncClient, HTTPError
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from tests.awkward.system import Process
from tests.fuzz.campaign import resident
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

Backend = Literal["asyncio", "trio"]
Way = Literal["embedded", "servers"]

BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")
WAYS: Final[tuple[Way, ...]] = ("embedded", "servers")

CLIENTS: Final = 64
"""Callers of the closed loop that finds the capacity."""

QUEUE_LIMIT: Final = 200
"""The setting `queue_limit`: the model does 16 at a time, 100 ms each, so that a full queue is little more than a second of work."""

RESULT_TTL: Final = 20.0
"""The setting `result_ttl`: the store in memory keeps each outcome for so long, and is as large as it gets after that."""

CAPACITY_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 10.0
PERIOD: Final = 30.0
BOUND: Final = 10.0
"""Seconds that a call that is served may take at p99, and that any reply may take."""

GROWTH: Final = 64e6
"""Bytes that a process may grow between the end of the first fifth of the overload and its end."""

BACK: Final = 1.5
"""The latency is back when the p95 of the quiet load is at most so many times what it was, or within `SLACK` of it."""

SLACK: Final = 0.025
RECOVERY: Final = 60.0
"""Seconds for that."""


Short = Literal["places", "cpu"]

MODELS: Final[Mapping[Short, str]] = {"places": "Slow", "cpu": "Quick"}
"""The model whose calls are offered, by what is to be short."""


class Slow(hub.Model[ModelARequest, ModelAResponse]):
    """A model that waits: what is short is its places, not this machine's CPU."""

    concurrency: ClassVar[int] = 16

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        await sleep(0.1)
        return ModelAResponse(reply=request.messages)


class Quick(hub.Model[ModelARequest, ModelAResponse]):
    """A model that does nothing: what is short is the CPU that hub itself takes for a call."""

    concurrency: ClassVar[int] = 256

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


@dataclass(slots=True)
class Window:
    """What became of the calls of some seconds. `served` has the seconds of those that were answered with 200."""

    statuses: Mapping[str, int] = field(default_factory=dict[str, int])
    served: list[float] = field(default_factory=list[float])
    refused: list[float] = field(default_factory=list[float])

    def quantile(self, share: float) -> float:
        return _quantile(self.served, share)


@dataclass(frozen=True, slots=True)
class System:
    """What runs, and how to ask it."""

    url: str
    model: str
    folder: Path
    processes: Sequence[Process]
    client: AsyncClient

    def memory(self) -> Mapping[str, int]:
        return {each.name: resident(each.pid) for each in self.processes}

    async def waiting(self) -> int | None:
        """Messages in the queue of the model; `None` if that cannot be told."""
        try:
            with fail_after(BOUND):
                overview: dict[str, Any] = (await self.client.get(f"{self.url}/v1/overview")).json()
        except (HTTPError, TimeoutError, ValueError):
            return None
        waiting: int = sum(model["queue"]["ready"] for model in overview["models"] if model["queue"])
        return waiting

    async def offer(self, seconds: float, *, rate: float = 0.0) -> Window:
        """Calls at a steady rate, or without one by `CLIENTS` callers. Returns when all are answered."""
        load = ["--rate", f"{rate}"] if rate else ["--callers", f"{CLIENTS}"]
        output = self.folder / "offered.json"
        command = [sys.executable, "-m", "benchmarks.load_generator", self.url, self.model, f"{output}"]
        await run_process([*command, "--seconds", f"{seconds}", *load], stdout=None, stderr=None)
        return msgspec.json.decode(output.read_bytes(), type=Window)


async def measure(minutes: float, backend: Backend, way: Way, short: Short) -> Sequence[str]:
    """Runs it all, prints figures, and returns what was not as it should be."""
    broken: list[str] = []
    async with opened(backend, way, MODELS[short]) as system:
        await system.offer(2)
        full = await system.offer(CAPACITY_SECONDS)
        capacity = len(full.served) / CAPACITY_SECONDS
        _say(f"capacity {capacity:.0f} calls/s with {CLIENTS} callers, p50 {full.quantile(0.5) * 1000:.0f} ms")
        quiet = await system.offer(QUIET_SECONDS, rate=capacity / 10)
        usual = quiet.quantile(0.95)
        _say(f"quiet (a tenth): p50 {quiet.quantile(0.5) * 1000:.0f} ms, p95 {usual * 1000:.0f} ms")
        spent, settled = 0.0, dict[str, int]()
        while spent < minutes * 60:
            seconds = min(PERIOD, minutes * 60 - spent)
            window = await _watched(system, 2 * capacity, seconds)
            spent += seconds
            if not settled and spent >= minutes * 12:
                settled = dict(system.memory())
            odd = {status: times for status, times in window.statuses.items() if status not in {"200", "429", "503"}}
            if odd:
                broken.append(f"replies other than 200, 429 and 503: {odd}")
            for kind, times in (("served", window.served), ("refused", window.refused)):
                if _quantile(times, 0.99) > BOUND:
                    broken.append(f"{kind} calls took {_quantile(times, 0.99):.1f} s at p99")
        grown = {name: size - settled.get(name, size) for name, size in system.memory().items()}
        _say("grown since the first fifth: " + _sizes(grown))
        broken += [f"{name} grew by {size / 1e6:.0f} MB" for name, size in grown.items() if size > GROWTH]
        taken = await _recovered(system, capacity / 10, usual)
        if taken is None:
            broken.append(f"the quiet latency was not back after {RECOVERY:g} s")
        else:
            _say(f"back to the quiet latency after {taken:.0f} s")
        broken += [
            f"{each.name} ended with {each.exit_code}" for each in system.processes if each.exit_code is not None
        ]
    return broken


async def _watched(system: System, rate: float, seconds: float) -> Window:
    depth: list[int | None] = []

    async def look() -> None:
        while True:
            depth.append(await system.waiting())
            await sleep(2)

    async with create_task_group() as tg:
        tg.start_soon(look, name="look at the queue")
        began = current_time()
        window = await system.offer(seconds, rate=rate)
        taken = current_time() - began
        memory = system.memory()
        tg.cancel_scope.cancel()
    deepest = max((each for each in depth if each is not None), default=0)
    statuses = ", ".join(f"{status}: {times:,}" for status, times in sorted(window.statuses.items()))
    _say(
        f"offered {rate:.0f}/s, all answered after {taken:.0f} s  {statuses}  served p50 {window.quantile(0.5) * 1000:.0f} ms, "
        f"p99 {window.quantile(0.99) * 1000:.0f} ms  refused p99 {_quantile(window.refused, 0.99) * 1000:.0f} ms  "
        f"queue up to {deepest}  {_sizes(memory)}"
    )
    return window


async def _recovered(system: System, rate: float, usual: float) -> float | None:
    began = current_time()
    while (spent := current_time() - began) < RECOVERY:
        window = await system.offer(2, rate=rate)
        if set(window.statuses) == {"200"} and window.quantile(0.95) <= max(BACK * usual, usual + SLACK):
            return spent
    return None


@asynccontextmanager
async def opened(backend: Backend, way: Way, model: str) -> AsyncGenerator[System]:
    """Starts everything, and kills it with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-overload-")))
        gateway_port, registry_port = f"{free_port()}", f"{free_port()}"
        common = {"backend": backend, "log_level": "warning"}
        gateway = {"gateway_port": gateway_port, "dashboard_port": "0", "queue_limit": f"{QUEUE_LIMIT}"}
        gateway |= {"result_ttl": f"{RESULT_TTL}", "result_ttl_min": f"{RESULT_TTL}"}
        processes: list[Process] = []

        def start(name: str, arguments: Sequence[str], settings: Mapping[str, str]) -> None:
            processes.append(Process(name, arguments, settings, folder))
            stack.callback(processes[-1].close)

        if way == "embedded":
            start("up", ["up", f"benchmarks.overload:{model}"], common | gateway | {"registry_port": registry_port})
        else:
            broker = await run_sync(stack.enter_context, rabbitmq())
            store = await run_sync(stack.enter_context, redis())
            url = {"registry_url": f"http://127.0.0.1:{registry_port}"}
            links = {"broker_url": broker.url, "store_url": f"{store.url}/1"}
            at = {"registry_port": registry_port, "directory_url": f"{store.url}/0", "broker_url": broker.url}
            start("registry", ["registry"], common | at)
            start("gateway", ["gateway"], common | url | links | gateway)
            start("instance", ["model", f"benchmarks.overload:{model}"], common | url | links)
        async with AsyncExitStack() as clients:
            client = await clients.enter_async_context(AsyncClient(timeout=BOUND * 3, trust_env=False))
            system = System(f"http://127.0.0.1:{gateway_port}", model, folder, processes, client)
            with fail_after(60):
                while not (await system.offer(0.2, rate=10)).served:  # noqa: ASYNC110 - the event is in another process
                    await sleep(0.2)
            yield system


def _quantile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))] if times else 0.0


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--backend", choices=["both", *BACKENDS], default="both")
    parser.add_argument("--way", choices=["both", *WAYS], default="servers")
    parser.add_argument("--short", choices=["both", *MODELS], default="both")
    arguments = parser.parse_args()
    broken = 0
    for backend, way, short in product(BACKENDS, WAYS, MODELS):
        asked = ((arguments.backend, backend), (arguments.way, way), (arguments.short, short))
        if any(wanted not in {kind, "both"} for wanted, kind in asked):
            continue
        _say(f"\n== {backend}, {way}, short of {short}")
        found = anyio.run(partial(measure, arguments.minutes, backend, way, short))
        for what in found:
            _say(f"  BROKEN: {what}")
        broken += len(found)
    return 1 if broken else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
