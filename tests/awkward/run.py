"""One run: the good model is called at a steady rate while each awkward model works."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio import create_task_group, current_time, fail_after, sleep, sleep_until
from httpx2 import AsyncClient, TransportError

from hub.http.client import open_client
from tests.awkward.plan import Case, Plan
from tests.awkward.system import DRAIN_GRACE, GOOD, Backend, System, Way, open_system

START: Final = 90.0
"""Seconds until everything is up, on a busy machine."""

OUTCOME: Final = 60.0
"""Seconds for the outcome of a task beyond the time that it takes by itself."""

LONGEST_LINE: Final = 2_000
"""Characters of one line of a log."""

EXIT: Final = DRAIN_GRACE + 8.0
"""Seconds from SIGTERM to the end of a process whose model does not return: its grace, and its other steps of shutdown."""

TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled", "expired", "dead"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of the good model: when it was due, and seconds from then to its answer."""

    due: float
    seconds: float
    status: int


@dataclass(kw_only=True)
class Report:
    """Figures and failed checks of a run.

    Attributes:
        samples: Calls of the good model.
        windows: Start and end of the work of each awkward model.
        tasks: Tasks with the expected outcome.
        broken: Failed checks.
        ends: Exit code and seconds after SIGTERM of each process.
        longest_line: Characters of the longest line of all logs.
    """

    samples: list[Sample] = field(default_factory=list[Sample])
    windows: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    starving: set[str] = field(default_factory=set[str])
    tasks: int = 0
    broken: list[str] = field(default_factory=list[str])
    ends: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    longest_line: int = 0
    lines: int = 0

    def undisturbed(self) -> list[Sample]:
        """The samples without those of times of documented starvation."""
        spans = [self.windows[name] for name in self.starving]
        return [each for each in self.samples if not any(begin <= each.due <= end for begin, end in spans)]


def percentile(samples: list[Sample], share: float) -> float:
    """Seconds that `share` of the samples stay below."""
    if not samples:
        return float("nan")
    ordered = sorted(each.seconds for each in samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def run(plan: Plan, backend: Backend, way: Way, folder: Path, say: Callable[[str], None]) -> Report:
    report = Report()
    async with open_system(plan, backend, way, folder) as system, open_client() as http:
        say("waiting for the models")
        await _until_served(system, http, [GOOD])
        setups = way == "servers"  # in `hub up` it is started last, when all else is up
        async with create_task_group() as tg:
            tg.start_soon(_call_steadily, system, http, plan.period, report)
            if setups:
                await _check_loading(system, http, report)
            await _until_served(system, http, [case.model for case in plan.cases() if case.model != "SlowSetup"])
            began = current_time()
            await sleep(plan.quiet)
            report.windows["(none)"] = began, current_time()
            for case in plan.cases():
                say(case.model)
                if case.starves and way == "embedded":
                    report.starving.add(case.model)
                if case.model == "SlowSetup":
                    await _until_served(system, http, [case.model])
                began = current_time()
                await _check_case(case, system, http, report)
                while current_time() - began < plan.least:
                    await _check_case(case, system, http, report)
                report.windows[case.model] = began, current_time()
            tg.cancel_scope.cancel("all cases are through")
        report.broken += system.unexpected_exits()
        await _stop(system, http, report, say)
        for each in system.processes:
            lines = each.lines()
            report.lines += len(lines)
            longest = max(map(len, lines), default=0)
            report.longest_line = max(report.longest_line, longest)
            if longest > LONGEST_LINE:
                report.broken.append(f"a line of {each.log.name} has {longest} characters")
            if any("\x1b" in line for line in lines):
                report.broken.append(f"{each.log.name} has ANSI escapes")
    return report


async def _until_served(system: System, http: AsyncClient, models: list[str]) -> None:
    with fail_after(START):
        while True:
            if system.unexpected_exits():
                logs = "\n".join(
                    "\n".join(each.lines()[-20:]) for each in system.processes if each.exit_code is not None
                )
                raise AssertionError(f"{system.unexpected_exits()}\n{logs}")
            try:
                listed: list[dict[str, Any]] = (await http.get(f"{system.gateway_url}/v1/models")).json()["models"]
            except TransportError:
                listed = []
            if set(models) <= {each["name"] for each in listed if each["instances"]}:
                return
            await sleep(0.2)


async def _call_steadily(system: System, http: AsyncClient, period: float, report: Report) -> None:
    """Calls the good model at a fixed rate, whether earlier calls have been answered or not."""

    async def call(due: float) -> None:
        try:
            reply = await http.post(f"{system.gateway_url}/v1/models/{GOOD}", json={"messages": "hello"})
            status = reply.status_code
        except TransportError as error:
            report.broken.append(f"a call of the good model: {error!r}")
            return
        report.samples.append(Sample(due, current_time() - due, status))
        if status != 200:
            report.broken.append(f"a call of the good model: {status} {reply.text[:300]}")

    due = current_time()
    async with create_task_group() as tg:
        while True:
            due += period
            await sleep_until(due)
            tg.start_soon(call, due)


async def _check_loading(system: System, http: AsyncClient, report: Report) -> None:
    """A model in `setup` is listed, and not ready."""
    url = f"{system.gateway_url}/v1/models/SlowSetup"
    seen: set[tuple[int, str]] = set()
    with fail_after(START):
        while (503, "model_loading") not in seen:
            reply = await http.post(url, json={})
            seen.add((reply.status_code, reply.json().get("code", "")))
            if reply.status_code == 200:
                report.broken.append(f"SlowSetup was never loading: {sorted(seen)}")
                return
            await sleep(0.2)


async def _check_case(case: Case, system: System, http: AsyncClient, report: Report) -> None:
    async with create_task_group() as tg:
        for _ in range(case.tasks):
            tg.start_soon(partial(_check_task, case, system, http, report))
        if case.call is not None:
            tg.start_soon(partial(_check_call, case, system, http, report))


async def _check_task(case: Case, system: System, http: AsyncClient, report: Report) -> None:
    view = await _ended(system, http, await _submit(case, system, http))
    text = str(view)
    if view["state"] != case.state or case.shown not in text:
        report.broken.append(f"a task of {case.model}: {text[:500]}")
    else:
        report.tasks += 1


async def _check_call(case: Case, system: System, http: AsyncClient, report: Report) -> None:
    reply = await http.post(f"{system.gateway_url}/v1/models/{case.model}", json={"messages": case.message})
    task = reply.headers.get("hub-task", "")
    if reply.status_code != case.call or not task or "location" not in reply.headers:
        report.broken.append(f"a call of {case.model}: {reply.status_code} {dict(reply.headers)} {reply.text[:300]}")
        return
    if "json" not in reply.headers["content-type"]:
        report.broken.append(f"a call of {case.model} is answered with {reply.headers['content-type']}")
    view = await _ended(system, http, task)
    if view["state"] != case.state:
        report.broken.append(f"the task of a call of {case.model} is {view['state']}")
    else:
        report.tasks += 1


async def _submit(case: Case, system: System, http: AsyncClient) -> str:
    reply = await http.post(f"{system.gateway_url}/v1/models/{case.model}/tasks", json={"messages": case.message})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def _ended(system: System, http: AsyncClient, task: str, seconds: float = OUTCOME) -> dict[str, Any]:
    """The view of a task once it has ended."""
    with fail_after(seconds + 60):
        while True:
            reply = await http.get(f"{system.gateway_url}/v1/tasks/{task}?wait=20")
            assert reply.status_code == 200, reply.text
            view: dict[str, Any] = reply.json()
            if view["state"] in TERMINAL:
                return view


async def _stop(system: System, http: AsyncClient, report: Report, say: Callable[[str], None]) -> None:
    """SIGTERM during a plain `def` that takes a minute: each process ends in time, and the task is not lost."""
    slow = Case(model="SlowRun", message="60")
    task = await _submit(slow, system, http)
    with fail_after(OUTCOME):
        while (await http.get(f"{system.gateway_url}/v1/tasks/{task}")).json()["state"] != "running":
            await sleep(0.1)
    say("stopping while SlowRun runs")
    if system.way == "servers":
        first = next(each for each in system.processes if each.name == slow.model)
        began = time.monotonic()
        first.terminate()
        report.ends["SlowRun, alone"] = await first.ended(), time.monotonic() - began
        system.processes.remove(first)
        with fail_after(OUTCOME):
            while (await http.get(f"{system.gateway_url}/v1/tasks/{task}")).json()["state"] != "queued":
                await sleep(0.1)
        await http.delete(f"{system.gateway_url}/v1/tasks/{task}")
    report.ends |= await system.stop()
    for name, (code, seconds) in report.ends.items():
        if code != 0 or seconds > EXIT:
            report.broken.append(f"{name} ended with {code}, {seconds:.1f} s after SIGTERM")
