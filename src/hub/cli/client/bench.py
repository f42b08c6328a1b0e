"""The command `hub bench`: calls a model at a steady rate, or from callers that each wait for their answer, and measures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter
from typing import Final, final

import msgspec
from anyio import CapacityLimiter, WouldBlock, create_task_group, move_on_after, sleep
from rich.console import Console
from rich.text import Text

from hub.cli.client.commands import for_people, opened, read_request, write_line
from hub.cli.client.measurement import INTERRUPTED, NOT_SENT, SUCCEEDED, BenchReport, Measurement
from hub.cli.command import EXIT_OK, EXIT_PARTIAL
from hub.cli.terminal import console
from hub.cli.watch.listing import new_table
from hub.client.errors import GatewayError
from hub.client.messages import Target
from hub.client.submission import Submission
from hub.client.transport import Transport
from hub.concurrency.periodic import every
from hub.errors import ConfigurationError, HubError
from hub.http.client import open_client
from hub.settings.client import ClientSettings
from hub.types import ModelName

CALLERS: Final = 16
"""Callers that wait for their answers, by default."""

IN_FLIGHT: Final = 256
"""Calls in flight at most with a rate, by default."""

PROGRESS_PERIOD: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """What is sent.

    Attributes:
        model: The model.
        requests: Requests as JSON, sent in turn.
        rate: Calls per second; `None`: each caller waits for its answer.
        concurrency: Callers; with a rate calls in flight at most.
        duration: Seconds in which calls begin.
        warm_up: Seconds of calls before that, which are not counted.
        timeout: Seconds until the deadline of each task; `None`: that of the model.
        retry_for: Seconds that the first call is retried.
    """

    model: ModelName
    requests: Sequence[bytes]
    rate: float | None
    concurrency: int
    duration: float
    warm_up: float
    timeout: float | None
    retry_for: float


def requests_from(request: str, file: str) -> Sequence[bytes]:
    """The requests that the arguments name.

    Raises:
        ConfigurationError: A file cannot be read, or has no request.
    """
    if not file:
        return [read_request(request)]
    lines = [line for line in (read_request("-") if file == "-" else opened(file)).splitlines() if line.strip()]
    if not lines:
        raise ConfigurationError(f"{file!r} has no request: write one as JSON in each line")
    return lines


async def run_bench(settings: ClientSettings, plan: BenchPlan, *, json_wanted: bool) -> int:
    """Calls the model, and prints what became of the calls.

    A call is not retried. With a rate its latency counts from the time when it was due, whether it was sent then or later, so
    that a slow server does not hide its delays by delaying the calls (coordinated omission).

    If it is cancelled, it prints what it has measured so far; calls that wait are cancelled with their tasks.

    Args:
        settings: The gateway.
        plan: What is sent.
        json_wanted: Whether to print JSON also on a terminal.

    Returns:
        `EXIT_OK` if each call was answered once with a response, otherwise `EXIT_PARTIAL`.

    Raises:
        HubError: The first call, which is not counted, was refused, failed, or did not reach the gateway.
    """
    target = Target.of(plan.model, None, None)
    async with open_client(connections=plan.concurrency) as http:

        def transport(retry_for: float) -> Transport:
            return Transport(http, settings.gateway_url.rstrip("/"), api_key=settings.api_key, retry_for=retry_for)

        await _submission(transport(plan.retry_for), target, plan.requests[0], plan.timeout).call()
        bench = Bench(transport(0), target, plan)
        await bench.warm_up()
        try:
            async with _progress(bench, shown=not json_wanted):
                await bench.run()
        finally:  # also after a cancellation; printing does not wait
            report = bench.report()
            print_report(report, json_wanted=json_wanted)
    return EXIT_OK if report.good else EXIT_PARTIAL


@final
class Bench:
    """Sends the calls of a plan. Latencies are those of `perf_counter`: uvloop counts in milliseconds.

    Args:
        transport: Sends them; does not retry.
        target: The model.
        plan: What is sent.
    """

    def __init__(self, transport: Transport, target: Target, plan: BenchPlan) -> None:
        self._transport = transport
        self._target = target
        self._plan = plan
        self._requests: Iterator[bytes] = cycle(plan.requests)
        self._measurement = Measurement()
        self._began = perf_counter()
        self._ended: float | None = None

    @property
    def calls(self) -> int:
        """Calls that have ended so far."""
        return self._measurement.calls

    @property
    def seconds(self) -> float:
        """Seconds since the first call, until the last answer."""
        return (perf_counter() if self._ended is None else self._ended) - self._began

    async def warm_up(self) -> None:
        """Calls that are not counted."""
        if self._plan.warm_up > 0:
            await self._closed(self._plan.warm_up, min(self._plan.concurrency, CALLERS))
            self._measurement = Measurement()

    async def run(self) -> None:
        """Sends the calls, and returns when all are answered."""
        self._began = perf_counter()
        if self._plan.rate is None:
            await self._closed(self._plan.duration, self._plan.concurrency)
        else:
            await self._open(self._plan.rate)
        self._ended = perf_counter()

    def report(self) -> BenchReport:
        plan = self._plan
        return self._measurement.report(plan.model, rate=plan.rate, concurrency=plan.concurrency, seconds=self.seconds)

    async def _closed(self, seconds: float, callers: int) -> None:
        """Callers that each wait for their answer before their next call."""
        end = perf_counter() + seconds

        async def caller() -> None:
            while perf_counter() < end:
                await self._call(perf_counter())

        async with create_task_group() as tg:
            for number in range(callers):
                tg.start_soon(caller, name=f"hub.bench caller {number}")

    async def _open(self, rate: float) -> None:
        """Calls that are each due at a time of their own. While all connections are in use, further ones are late."""
        free = CapacityLimiter(self._plan.concurrency)
        began = perf_counter()
        end = began + self._plan.duration
        total = max(1, round(rate * self._plan.duration))
        sent = 0

        async def call(due: float, borrower: object) -> None:
            try:
                await self._call(due)
            finally:
                free.release_on_behalf_of(borrower)

        async with create_task_group() as tg:
            for number in range(total):
                due = began + number / rate
                await sleep(max(0.0, due - perf_counter()))
                borrower = object()
                if not await _acquired(free, borrower, end):
                    break
                sent += 1
                tg.start_soon(call, due, borrower, name=f"hub.bench call {sent}")
        for number in range(sent, total):
            self._measurement.note(NOT_SENT, end - (began + number / rate))  # it would have taken longer

    async def _call(self, due: float) -> None:
        submission = _submission(self._transport, self._target, next(self._requests), self._plan.timeout)
        outcome = INTERRUPTED
        try:
            await submission.call()
            outcome = SUCCEEDED
        except GatewayError as error:
            outcome, submission.task = error.code, error.task
        except HubError as error:
            outcome = error.code
        finally:  # a cancelled call has cancelled its task by now
            task = "" if outcome == INTERRUPTED else submission.task
            self._measurement.note(outcome, perf_counter() - due, task)


def print_report(report: BenchReport, *, json_wanted: bool) -> None:
    """A table on a terminal, one line of JSON elsewhere."""
    if not for_people(json_wanted):
        write_line(msgspec.to_builtins(report))
        return
    asked = f"{report.rate:g} calls/s" if report.rate is not None else f"{report.concurrency} callers"
    out = console()
    out.print(f"{report.model}: {report.calls:,} calls in {report.seconds:.1f} s, {asked}", style="bold")
    table = new_table("outcome", "calls >", "per second >", "p50 >", "p90 >", "p99 >", "max >")
    for each in report.outcomes:
        table.add_row(
            Text(each.outcome, "" if each.outcome == SUCCEEDED else "red"),
            f"{each.calls:,}",
            f"{each.rate:,.1f}",
            *(f"{milliseconds:,.1f} ms" for milliseconds in (each.p50, each.p90, each.p99, each.max)),
        )
    out.print(table)
    if report.answered_twice:
        out.print(f"{report.answered_twice} calls were answered by the task of another call", style="red")


async def _acquired(free: CapacityLimiter, borrower: object, end: float) -> bool:
    """Waits for a free connection until `end`; takes one that is free now also after that."""
    try:
        free.acquire_on_behalf_of_nowait(borrower)
    except WouldBlock:
        with move_on_after(end - perf_counter()):
            await free.acquire_on_behalf_of(borrower)
            return True
        return False
    return True


def _submission(transport: Transport, target: Target, request: bytes, timeout: float | None) -> Submission:
    return Submission.of(
        transport, target, request, timeout=timeout, idempotency_key=None, result_ttl=None, waiting=True
    )


@asynccontextmanager
async def _progress(bench: Bench, *, shown: bool) -> AsyncGenerator[None]:
    """The number of calls so far, on stderr if that is a terminal."""
    to = Console(stderr=True)
    if not (shown and to.is_terminal):
        yield
        return

    async def update() -> None:
        with to.status("") as status:
            async for _ in every(PROGRESS_PERIOD):
                status.update(f"{bench.calls:,} calls in {bench.seconds:.0f} s")

    async with create_task_group() as tg:
        tg.start_soon(update, name="hub.bench progress")
        yield
        tg.cancel_scope.cancel("all calls have ended")
