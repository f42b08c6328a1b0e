"""One run: the good model is called at a steady rate while each awkward model does what it does."""

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
from tests.awkward.stage import DRAIN_GRACE, GOOD, Backend, Stage, Way, opened

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
    """What happened.

    Attributes:
        samples: Calls of the good model.
        windows: Which awkward model was at work, from when to when.
        tasks: Tasks that ended as they should.
        broken: What should not have happened.
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

    def judged(self) -> list[Sample]:
        """The samples but for those of the time in which a documented starvation was under way."""
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
    async with opened(plan, backend, way, folder) as stage, open_client() as http:
        say("waiting for the models")
        await _until_served(stage, http, [GOOD])
        setups = way == "servers"  # in `hub up` it comes last, and everything before it is up by then
        async with create_task_group() as tg:
            tg.start_soon(_call_steadily, stage, http, plan.period, report)
            if setups:
                await _check_loading(stage, http, report)
            await _until_served(stage, http, [case.model for case in plan.cases() if case.model != "SlowSetup"])
            began = current_time()
            await sleep(plan.quiet)
            report.windows["(none)"] = began, current_time()
            for case in plan.cases():
                say(case.model)
                if case.starves and way == "embedded":
                    report.starving.add(case.model)
                if case.model == "SlowSetup":
                    await _until_served(stage, http, [case.model])
                began = current_time()
                await _judge_case(case, stage, http, report)
                while current_time() - began < plan.least:
                    await _judge_case(case, stage, http, report)
                report.windows[case.model] = began, current_time()
            tg.cancel_scope.cancel("all cases are through")
        report.broken += stage.accidents()
        await _stop(stage, http, report, say)
        for each in stage.processes:
            lines = each.lines()
            report.lines += len(lines)
            longest = max(map(len, lines), default=0)
            report.longest_line = max(report.longest_line, longest)
            if longest > LONGEST_LINE:
                report.broken.append(f"a line of {each.log.name} has {longest} characters")
            if any("\x1b" in line for line in lines):
                report.broken.append(f"{each.log.name} has ANSI escapes")
    return report


async def _until_served(stage: Stage, http: AsyncClient, models: list[str]) -> None:
    with fail_after(START):
        while True:
            if stage.accidents():
                logs = "\n".join(
                    "\n".join(each.lines()[-20:]) for each in stage.processes if each.exit_code is not None
                )
                raise AssertionError(f"{stage.accidents()}\n{logs}")
            try:
                listed: list[dict[str, Any]] = (await http.get(f"{stage.gateway_url}/v1/models")).json()["models"]
            except TransportError:
                listed = []
            if set(models) <= {each["name"] for each in listed if each["instances"]}:
                return
            await sleep(0.2)


async def _call_steadily(stage: Stage, http: AsyncClient, period: float, report: Report) -> None:
    """Calls the good model at a fixed rate, whether earlier calls have been answered or not."""

    async def call(due: float) -> None:
        try:
            reply = await http.post(f"{stage.gateway_url}/v1/models/{GOOD}", json={"messages": "hello"})
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


async def _check_loading(stage: Stage, http: AsyncClient, report: Report) -> None:
    """A model that is still in `setup` is known, and not ready."""
    url = f"{stage.gateway_url}/v1/models/SlowSetup"
    seen: set[tuple[int, str]] = set()
    with fail_after(START):
        while (503, "model_loading") not in seen:
            reply = await http.post(url, json={})
            seen.add((reply.status_code, reply.json().get("code", "")))
            if reply.status_code == 200:
                report.broken.append(f"SlowSetup was never loading: {sorted(seen)}")
                return
            await sleep(0.2)


async def _judge_case(case: Case, stage: Stage, http: AsyncClient, report: Report) -> None:
    async with create_task_group() as tg:
        for _ in range(case.tasks):
            tg.start_soon(partial(_judge_task, case, stage, http, report))
        if case.call is not None:
            tg.start_soon(partial(_judge_call, case, stage, http, report))


async def _judge_task(case: Case, stage: Stage, http: AsyncClient, report: Report) -> None:
    view = await _ended(stage, http, await _submit(case, stage, http))
    text = str(view)
    if view["state"] != case.state or case.shown not in text:
        report.broken.append(f"a task of {case.model}: {text[:500]}")
    else:
        report.tasks += 1


async def _judge_call(case: Case, stage: Stage, http: AsyncClient, report: Report) -> None:
    reply = await http.post(f"{stage.gateway_url}/v1/models/{case.model}", json={"messages": case.message})
    task = reply.headers.get("hub-task", "")
    if reply.status_code != case.call or not task or "location" not in reply.headers:
        report.broken.append(f"a call of {case.model}: {reply.status_code} {dict(reply.headers)} {reply.text[:300]}")
        return
    if "json" not in reply.headers["content-type"]:
        report.broken.append(f"a call of {case.model} is answered with {reply.headers['content-type']}")
    view = await _ended(stage, http, task)
    if view["state"] != case.state:
        report.broken.append(f"the task of a call of {case.model} is {view['state']}")
    else:
        report.tasks += 1


async def _submit(case: Case, stage: Stage, http: AsyncClient) -> str:
    reply = await http.post(f"{stage.gateway_url}/v1/models/{case.model}/tasks", json={"messages": case.message})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def _ended(stage: Stage, http: AsyncClient, task: str, seconds: float = OUTCOME) -> dict[str, Any]:
    """The view of a task once it has ended."""
    with fail_after(seconds + 60):
        while True:
            reply = await http.get(f"{stage.gateway_url}/v1/tasks/{task}?wait=20")
            assert reply.status_code == 200, reply.text
            view: dict[str, Any] = reply.json()
            if view["state"] in TERMINAL:
                return view


async def _stop(stage: Stage, http: AsyncClient, report: Report, say: Callable[[str], None]) -> None:
    """SIGTERM while a plain `def` runs that takes a minute: each process ends in time, and the task is not lost."""
    slow = Case(model="SlowRun", message="60")
    task = await _submit(slow, stage, http)
    with fail_after(OUTCOME):
        while (await http.get(f"{stage.gateway_url}/v1/tasks/{task}")).json()["state"] != "running":
            await sleep(0.1)
    say("stopping while SlowRun runs")
    if stage.way == "servers":
        first = next(each for each in stage.processes if each.name == slow.model)
        began = time.monotonic()
        first.terminate()
        report.ends["SlowRun, alone"] = await first.ended(), time.monotonic() - began
        stage.processes.remove(first)
        with fail_after(OUTCOME):
            while (await http.get(f"{stage.gateway_url}/v1/tasks/{task}")).json()["state"] != "queued":
                await sleep(0.1)
        await http.delete(f"{stage.gateway_url}/v1/tasks/{task}")
    report.ends |= await stage.stop()
    for name, (code, seconds) in report.ends.items():
        if code != 0 or seconds > EXIT:
            report.broken.append(f"{name} ended with {code}, {seconds:.1f} s after SIGTERM")
