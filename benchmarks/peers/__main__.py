"""hub beside its peers and beside the limits of the servers: `make bench ARGS="peers --rounds 5"`.

Starts one RabbitMQ and one Redis, measures every system once per round, in turn, checks that each task ran exactly once, and
writes `benchmarks/results/peers.json`, `docs/benchmarks.md` and its plots. A system that fails is in the results with its
error; the exit code is 1 only if hub itself failed. `--systems hub-asyncio taskiq` and `--scenarios many alone` measure a
part; then nothing in `docs/` is written unless `--page` asks for it. `--from FILE` only writes the page of earlier results.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from redis import Redis as RedisClient

import hub
from benchmarks.peers import environment
from benchmarks.peers.environment import PYTHON, ROOT
from benchmarks.peers.limits import limits
from benchmarks.peers.page import MINUTES, Report, page
from benchmarks.peers.runs import ECHO, WORK, Result, Run, Servers
from benchmarks.peers.systems import HTTP, HTTP_SCENARIOS, QUEUES, WITH_SLOTS, System
from benchmarks.records import machine
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis

RESULTS: Final = ROOT / "benchmarks" / "results" / "peers.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
IMAGES: Final = ("benchmarks-rates.svg", "benchmarks-cpu.svg")

SCENARIOS: Final = (*WITH_SLOTS, *HTTP_SCENARIOS, "limits")
KEYS: Final = tuple(dict.fromkeys(each.key for each in (*QUEUES, *HTTP)))


def rounds(servers: Servers, arguments: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """All measurements, round by round; each round begins with another system."""
    began = time.monotonic()
    for number in range(1, arguments.rounds + 1):
        spent = time.monotonic() - began
        if spent * number / max(1, number - 1) > arguments.minutes * 60:
            print(f"no further round: it would not end within {arguments.minutes:g} minutes", flush=True)
            break
        chosen = [(each, scenarios) for each, scenarios in _chosen(arguments) if scenarios]
        turned = (number - 1) * 3 % max(1, len(chosen))
        for system, scenarios in [*chosen[turned:], *chosen[:turned]]:
            for work in (ECHO, *WORK.values()):
                some = [each for each in scenarios if WORK.get(each, ECHO) == work]
                if not some:
                    continue
                run = Run(
                    system,
                    servers,
                    number=number,
                    label=f"r{number}{'h' if system in HTTP else ''}",
                    folder=folder,
                    seconds=arguments.seconds,
                    work=work,
                )
                yield from run.results(some)
                with RedisClient.from_url(servers.redis) as client:
                    client.flushall()
        if "limits" in arguments.scenarios:
            yield from limits(servers, number)


def _chosen(arguments: argparse.Namespace) -> Iterator[tuple[System, Sequence[str]]]:
    for system in (*QUEUES, *HTTP):
        if system.key in arguments.systems:
            yield system, [each for each in system.scenarios if each in arguments.scenarios]


def measure(arguments: argparse.Namespace) -> Report:
    packages = sorted(
        {package for each in (*QUEUES, *HTTP) if each.key in arguments.systems for package in each.packages}
    )
    if packages:
        environment.install()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="hub-bench-", ignore_cleanup_errors=True) as folder,
        rabbitmq(plugins=["rabbitmq_amqp1_0"]) as broker,  # for repid; a part of RabbitMQ 4
        redis() as store,
    ):
        report = Report(
            date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            machine=machine(),
            versions={"hub": hub.__version__, **_servers(broker.ctl("version").strip(), store.url)}
            | (environment.versions(*packages) if packages else {}),
            rounds=0,
            seconds=arguments.seconds,
            load=os.getloadavg()[0],
            results=[],
        )
        servers = Servers(amqp=broker.url, redis=store.url, broker_pid=broker._server.pid, store_pid=store._server.pid)  # noqa: SLF001 - for their CPU
        for result in rounds(servers, arguments, Path(folder)):
            report.results.append(result)
            report.rounds = result.round
            _tell(result, time.monotonic() - began)
    return report


def _tell(result: Result, seconds: float) -> None:
    head = f"{seconds:5.0f} s  round {result.round}  {result.scenario:8} {result.system:24}"
    if result.error:
        print(f"{head} FAILED {' '.join(result.error.split())[:300]}", flush=True)
        return
    cpu = " ".join(f"{role} {used:.0f}" for role, used in result.cpu.items())
    problems = f"  INEXACT {'; '.join(result.problems)[:300]}" if result.problems else ""
    times = f"  p50 {result.p50:.2f} p99 {result.p99:.2f} ms" if result.p50 else ""
    print(f"{head} {result.rate:9,.0f}/s{times}  us: {cpu}{problems}", flush=True)


def _servers(broker: str, store_url: str) -> dict[str, str]:
    with RedisClient.from_url(store_url) as client:
        return {"RabbitMQ": broker, "Redis": str(client.info("server")["redis_version"])}


def write_page(report: Report) -> None:
    """Writes the page and its plots."""
    plots = PYTHON.exists()
    if plots:
        command = [
            str(PYTHON),
            "-m",
            "benchmarks.peers.programs.plots",
            str(RESULTS),
            *(str(PAGE.parent / "images" / each) for each in IMAGES),
        ]
        subprocess.run(command, check=True, cwd=ROOT)
    PAGE.write_text(page(report, IMAGES if plots else ()))
    print(f"written: {PAGE.relative_to(ROOT)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of one measurement, about")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="no round begins that would not end within these"
    )
    parser.add_argument("--systems", nargs="+", choices=KEYS, metavar="SYSTEM", default=KEYS, help=", ".join(KEYS))
    parser.add_argument(
        "--scenarios", nargs="+", choices=SCENARIOS, metavar="SCENARIO", default=SCENARIOS, help=", ".join(SCENARIOS)
    )
    parser.add_argument("--output", type=Path, help="where the results go, as JSON")
    parser.add_argument("--page", action="store_true", help="write the page also for a part of the systems")
    parser.add_argument("--from", dest="earlier", type=Path, help="measure nothing; write the page of these results")
    arguments = parser.parse_args()
    if arguments.earlier:
        report = msgspec.json.decode(arguments.earlier.read_bytes(), type=Report)
        _keep(report, RESULTS)
        write_page(report)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    report = measure(arguments)
    whole = tuple(arguments.systems) == KEYS and tuple(arguments.scenarios) == SCENARIOS
    output = arguments.output or (RESULTS if whole or arguments.page else None)
    if output is not None:
        _keep(report, output)
    if whole or arguments.page:
        if output != RESULTS:
            _keep(report, RESULTS)
        write_page(report)
    else:
        print(page(report))
    failed = [each for each in report.results if each.system.startswith("hub") and (each.error or each.problems)]
    return 1 if failed else 0  # a peer that fails is on the page


def _keep(report: Report, path: Path) -> None:
    """Writes the results, one in each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.json.encode(msgspec.structs.replace(report, results=[])).removesuffix(b"]}")
    path.write_bytes(head + b"\n" + b",\n".join(map(msgspec.json.encode, report.results)) + b"\n]}\n")


if __name__ == "__main__":
    sys.exit(main())
