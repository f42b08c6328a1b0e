"""One run of one system: its processes are started, warmed up, measured, checked and stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import msgspec
from redis import Redis as RedisClient, RedisError

from benchmarks.peers.processes import Failed, Program, cpu_seconds
from benchmarks.peers.systems import PORT, Part, System
from tests.support.server import answers, free_port

TIMEOUT: Final = 90.0
"""Seconds for one measurement."""

FIRST_TIMEOUT: Final = 25.0
"""Seconds until the first task is answered, by a worker that has just been started."""

SLOTS: Final = 2000
SHORT_NAP: Final = 0.01

NAPS: Final = 1000
NAP: Final = 0.1
NAPS_AT_A_TIME: Final = 100
IDEAL: Final = NAPS * NAP / NAPS_AT_A_TIME
"""Seconds that tasks which sleep take at least."""

STREAMS: Final = 200
CHUNKS_PER_SECOND: Final = 50

IN_FLIGHT: Final = 200
CONNECTIONS: Final = 32


@dataclass(frozen=True, kw_only=True)
class Load:
    """A scenario of tasks that are answered.

    Attributes:
        in_flight: Tasks at a time.
        size: Bytes of a body.
        first: Tasks of one warm-up.
        share: Of the seconds of a measurement.
        warm_ups: How many there are; the last one tells how many tasks fill the time.
        tasks: How many tasks are measured; 0: as many as fill the time.
    """

    in_flight: int
    size: int = 100
    first: int
    share: float = 1.0
    warm_ups: int = 1
    tasks: int = 0


LOADS: Final[Mapping[str, Load]] = {
    "many": Load(in_flight=IN_FLIGHT, first=400, warm_ups=2),
    "alone": Load(in_flight=1, first=50, share=0.5),
    "10k": Load(in_flight=64, size=10_000, first=200, share=0.5),
    "1m": Load(in_flight=8, size=1_000_000, first=16, share=0.5),
    "naps": Load(in_flight=NAPS, first=NAPS_AT_A_TIME, tasks=NAPS),
    "slots": Load(in_flight=SLOTS, first=SLOTS, share=0.7),
    "call": Load(in_flight=CONNECTIONS, first=300, warm_ups=2),
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the workers of a run are started with.

    Attributes:
        label: A part of the name of their queue.
        sleep: Seconds that each task takes.
        concurrency: Tasks that a worker runs at a time.
    """

    label: str
    sleep: float = 0.0
    concurrency: int = IN_FLIGHT


ECHO: Final = Work(label="")
WORK: Final[Mapping[str, Work]] = {
    "naps": Work(label="n", sleep=NAP, concurrency=NAPS_AT_A_TIME),
    "slots": Work(label="s", sleep=SHORT_NAP, concurrency=SLOTS),
}
"""Scenarios whose workers are not those of all others."""


class Result(msgspec.Struct, kw_only=True):
    """One measurement, or what kept it from being made.

    Attributes:
        cpu: CPU of each process in microseconds per task.
        problems: What the check of exact delivery found.
        error: Why there is no measurement.
    """

    scenario: str
    system: str
    round: int
    tasks: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    cpu: dict[str, float] = {}
    problems: list[str] = []
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The broker and the store of all runs."""

    amqp: str
    redis: str
    broker_pid: int
    store_pid: int


@final
class Run:
    """The processes of a system while they run.

    Args:
        system: What is measured.
        servers: The broker and the store.
        number: Of the round.
        label: Makes the name of its queue unlike that of any other run.
        folder: For logs.
        seconds: How long one measurement takes, about.
    """

    def __init__(
        self,
        system: System,
        servers: Servers,
        *,
        number: int,
        label: str,
        folder: Path,
        seconds: float,
        work: Work,
    ) -> None:
        self._system = system
        self._servers = servers
        self._round = number
        self._folder = folder
        self._seconds = seconds
        self._work = work
        self._values = {
            "amqp": servers.amqp,
            "redis": f"{servers.redis}/1",
            "directory": f"{servers.redis}/2",
            "port": f"{free_port()}",
            "port2": f"{free_port()}",
            "run": label + work.label,
            "concurrency": f"{work.concurrency}",
        }
        self._environment = {
            "BENCH_AMQP": self._values["amqp"],
            "BENCH_REDIS": self._values["redis"],
            "BENCH_PORT": self._values["port"],
            "BENCH_RUN": self._values["run"],
            "BENCH_CONCURRENCY": self._values["concurrency"],
            "BENCH_SLEEP": f"{work.sleep}",
        }
        self._stack = ExitStack()
        self._pids: dict[str, int] = {"broker": servers.broker_pid, "store": servers.store_pid}
        self._driver: Program | None = None

    def results(self, scenarios: Sequence[str]) -> Iterator[Result]:
        """Measures the scenarios one after the other, and checks at the end that each task ran once.

        An error ends the run: it is the result of each scenario that has none yet.
        """
        done: list[Result] = []
        try:
            with self._stack:
                self._start()
                for scenario in scenarios:
                    done.append(self._measure(scenario))  # noqa: PERF401 - those before an error are kept
                problems = self._checked()
        except (Failed, OSError, ValueError, KeyError, RedisError) as error:
            text = f"{Failed(str(error))}" or type(error).__name__
            yield from done
            for scenario in scenarios[len(done) :]:
                yield Result(scenario=scenario, system=self._system.key, round=self._round, error=text)
            if len(done) == len(scenarios):
                for each in done:
                    each.problems.append(text)
            return
        for each in done:
            each.problems = [*each.problems, *problems]
        yield from done

    def _start(self) -> None:
        for part in self._system.parts:
            self._begin(part)
        driver = Program(
            "driver", self._filled(self._system.driver), self._environment, self._log("driver"), driven=True
        )
        self._driver = self._stack.enter_context(driver)
        driver.reply(TIMEOUT)
        self._pids["client"] = driver.pid
        if "call" not in self._system.scenarios:
            driver.do({"tasks": 1, "in_flight": 1, "size": 100}, FIRST_TIMEOUT)
            return
        found = driver.do({"wait": FIRST_TIMEOUT}, TIMEOUT)
        if "error" in found:
            raise Failed(found["error"])

    def _begin(self, part: Part) -> None:
        """Starts a part, and waits until it is ready."""
        command = (
            self._system.sleeping
            if self._work.sleep and self._system.sleeping and part.role == "worker"
            else part.command
        )
        environment = self._environment | {name: self._fill(value) for name, value in part.environment.items()}
        program = Program(f"{self._system.name}: {part.role}", self._filled(command), environment, self._log(part.role))
        self._pids[part.role] = self._stack.enter_context(program).pid
        port = self._values["port2" if part.role == "registry" else "port"]
        if part.ready and part.ready != PORT:
            program.wait_until(lambda log: part.ready in log)
        elif part.ready:
            program.wait_until(lambda _: answers(int(port), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP"))

    def _measure(self, scenario: str) -> Result:
        if scenario in LOADS:
            load = LOADS[scenario]
            rate = 0.0
            for _ in range(load.warm_ups):
                rate = self._send(load.first, load.in_flight, load.size)
            tasks = load.tasks or _amount(rate, self._seconds * load.share)
            return self._timed(scenario, {"tasks": tasks, "in_flight": load.in_flight, "size": load.size})
        if scenario == "submit":
            return self._measure_submits()
        command = {"path": self._fill(self._system.streams), "per_second": CHUNKS_PER_SECOND}
        self._command({"streams": 10, "chunks": 20, **command})
        chunks = round(CHUNKS_PER_SECOND * self._seconds * 2)  # the start of the streams counts too
        return self._timed(scenario, {"streams": STREAMS, "chunks": chunks, **command})

    def _measure_submits(self) -> Result:
        """Submits; before and after them all tasks run to their end."""
        load: dict[str, Any] = {"in_flight": CONNECTIONS, "size": 100}
        load |= {"accepted": True, "path": self._fill(self._system.submit)}
        self._drain()
        rate: float = self._command({"tasks": 300, **load})["rate"]
        self._drain()
        found = self._timed("submit", {"tasks": _amount(rate, self._seconds), **load})
        self._drain()
        return found

    def _timed(self, scenario: str, command: Mapping[str, Any]) -> Result:
        before = self._cpu()
        found = self._command(command)
        used = {
            role: round((seconds - before[role]) / found["tasks"] * 1e6, 1) for role, seconds in self._cpu().items()
        }
        return Result(
            scenario=scenario,
            system=self._system.key,
            round=self._round,
            cpu=used,
            **{
                name: found[name]
                for name in ("tasks", "seconds", "rate", "p50", "p90", "p99", "problems")
                if name in found
            },
        )

    def _send(self, tasks: int, in_flight: int, size: int) -> float:
        """Tasks a second."""
        rate: float = self._command({"tasks": tasks, "in_flight": in_flight, "size": size})["rate"]
        return rate

    def _drain(self) -> None:
        """Waits until all tasks that were accepted have run."""
        found = self._command({"check": True})
        if found["problems"]:
            raise Failed("; ".join(found["problems"]))

    def _checked(self) -> Sequence[str]:
        found = self._command({"check": True})
        problems: list[str] = found["problems"]
        if self._system.store:
            with RedisClient.from_url(self._values["redis"]) as client:
                stored = int(client.dbsize())
            if stored < found["sent"]:
                problems.append(f"{found['sent']} tasks were sent and the store has {stored} keys")
        return problems

    def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        assert self._driver is not None
        return self._driver.do(command, TIMEOUT)

    def _cpu(self) -> dict[str, float]:
        return {role: cpu_seconds(pid) for role, pid in self._pids.items()}

    def _log(self, name: str) -> Path:
        return self._folder / f"{self._system.key}-{self._round}-{name}-{self._work.label}.log"

    def _filled(self, command: Sequence[str]) -> Sequence[str]:
        return [self._fill(each) for each in command]

    def _fill(self, text: str) -> str:
        for name, value in self._values.items():
            text = text.replace(f"{{{name}}}", value)
        return text


def _amount(rate: float, seconds: float) -> int:
    """Tasks for so many seconds, as a round number."""
    tasks = rate * seconds
    return max(20, int(round(tasks, -1 if tasks < 1000 else -2)))
