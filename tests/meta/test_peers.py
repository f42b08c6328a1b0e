"""What `make bench ARGS=peers` concludes from its measurements: exact delivery, ratios, failures, the page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers.echo import answer
from benchmarks.peers.figures import Figures, Spread
from benchmarks.peers.ledger import Ledger
from benchmarks.peers.page import Report, page
from benchmarks.peers.processes import Failed, Program, cpu_seconds, session
from benchmarks.peers.runs import Result


def answered(ledger: Ledger, tasks: int) -> None:
    for _ in range(tasks):
        body = ledger.body(100)
        ledger.note(body, answer(body))


def test_tasks_that_ran_once_each_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.echo._runs", iter(range(1, 100)))
    ledger = Ledger()
    answered(ledger, 3)

    assert ledger.problems() == []
    assert len(ledger.body(100)) == 100


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        pytest.param(["7:1:{0}"], "2 tasks were sent and 1 answered", id="lost"),
        pytest.param(["7:1:{0}", "7:3:{1}"], "2 tasks were sent and ran 3 times", id="ran twice"),
        pytest.param(["7:1:{0}", "7:2:{0}"], "000000000002 of 100 bytes was answered", id="result of another task"),
        pytest.param(["7:1:{0}", "7:1:{1}"], "run '1' of process 7 came twice", id="same run twice"),
        pytest.param(["7:1:{0}", ""], "was answered with ''", id="no reply"),
    ],
)
def test_tasks_that_did_not_run_exactly_once_are_found(replies: list[str], problem: str) -> None:
    ledger = Ledger()
    bodies = [ledger.body(100), ledger.body(100)]
    for body, reply in zip(bodies, replies, strict=False):
        ledger.note(body, reply.format(*bodies))

    assert any(problem in each for each in ledger.problems()), ledger.problems()


def result(
    system: str, number: int, rate: float, *, scenario: str = "many", error: str = "", problems: list[str] | None = None
) -> Result:
    cpu = {"client": 100.0, "worker": 80.0, "broker": 60.0, "store": 40.0}
    return Result(
        scenario=scenario,
        system=system,
        round=number,
        tasks=1000,
        seconds=1.0,
        rate=0.0 if error else rate,
        p50=1.0,
        p99=2.0,
        cpu=cpu,
        error=error,
        problems=problems or [],
    )


def test_ratios_are_formed_within_a_round() -> None:
    """The machine was slow in the second round, for both; a ratio of medians would be 2.5."""
    rates = {"hub-asyncio": (4000, 400, 5000), "taskiq": (1000, 200, 2000)}
    figures = Figures(
        result(system, number, rate) for system, each in rates.items() for number, rate in enumerate(each)
    )

    assert figures.ratio("many", "hub-asyncio", "taskiq") == Spread(2.5, 2.0, 4.0)
    assert figures.spread("many", "taskiq") == Spread(1000, 200, 2000)
    assert figures.cpu("many", "taskiq", "client", "worker") == 180.0


def test_a_round_that_failed_is_in_no_ratio() -> None:
    figures = Figures(
        [
            result("hub-asyncio", 1, 3000),
            result("hub-asyncio", 2, 3000),
            result("taskiq", 1, 1000),
            result("taskiq", 2, 0, error="no"),
        ]
    )

    assert figures.ratio("many", "hub-asyncio", "taskiq") == Spread(3.0, 3.0, 3.0)
    assert figures.failures("many", "taskiq") == ["no"]


def report(*results: Result) -> Report:
    return Report(
        date="2026-01-01 00:00 UTC",
        machine={"processors": "2"},
        versions={"hub": "1"},
        rounds=1,
        seconds=3.0,
        load=0.1,
        results=list(results),
    )


def test_a_system_that_failed_is_on_the_page_with_its_error() -> None:
    text = page(
        report(
            result("hub-asyncio", 1, 3000),
            result("taskiq", 1, 0, error="worker ended with 1:\nno such module"),
            result("dramatiq", 1, 900, problems=["20 tasks were sent and ran 21 times"]),
        )
    )

    assert "| taskiq + aio-pika + redis | failed |" in text
    assert "* taskiq, many, round 1: `worker ended with 1: no such module`" in text
    assert "| dramatiq (inexact) | 900 (900-900) | 3.33 |" in text
    assert "20 tasks were sent and ran 21 times" in text


SENDER = """
import sys
from contextlib import asynccontextmanager
from benchmarks.peers.driver import drive
from benchmarks.peers.echo import answer

@asynccontextmanager
async def client():
    async def call(text, poll):
        if sys.argv[2] == "twice":
            answer(text)
        return answer(text)
    yield call

drive(client, sys.argv[1])
"""


def sender(tmp_path: Path, *arguments: str) -> Program:
    return Program("sender", [sys.executable, "-c", SENDER, *arguments], {}, tmp_path / "log", driven=True)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_driver_sends_measures_and_checks(backend: str, tmp_path: Path) -> None:
    with sender(tmp_path, backend, "once") as program:
        assert program.reply(30) == {"ready": True}
        measured = program.do({"tasks": 300, "in_flight": 10, "size": 50}, 30)
        checked = program.do({"check": True}, 30)
        assert cpu_seconds(program.pid) > 0

    assert measured["tasks"] == 300
    assert measured["rate"] > 0
    assert checked["problems"] == []


def test_a_driver_finds_tasks_that_run_twice(tmp_path: Path) -> None:
    with sender(tmp_path, "asyncio", "twice") as program:
        program.reply(30)
        program.do({"tasks": 10, "in_flight": 2, "size": 50}, 30)
        checked = program.do({"check": True}, 30)

    assert checked["problems"] == ["30 tasks were sent and ran 60 times"]


def test_a_program_that_ends_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with sender(tmp_path, "no backend", "once") as program, pytest.raises(Failed, match=r"has ended: .*no backend"):
        program.reply(30)


def test_files_of_a_failure_are_named_without_their_folders() -> None:
    text = 'File "/usr/lib/python3.11/asyncio/runners.py", line 1 / no reply of http://127.0.0.1:80/v1/models'

    assert str(Failed(text)) == 'File "runners.py", line 1 / no reply of http://127.0.0.1:80/v1/models'


def test_a_program_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    shell = "setsid sleep 60 & sleep 60 & sleep 60"
    with Program("shell", ["/bin/sh", "-c", shell], {}, tmp_path / "log") as program:
        program.wait_until(lambda _: len(session(program.pid)) == 4)
        started = session(program.pid)

    assert [pid for pid in started if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
