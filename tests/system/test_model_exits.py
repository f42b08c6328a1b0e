"""Models that exit, fork, or do not end, in a real `hub up` beside a good model; on the backend that the test runs on."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import fail_after
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from tests.model.exit_models import ALL, CANCELLATION, ERRORS, EXITS, FORKS
from tests.support.server import free_port
from tests.system.processes import HUB, HubProcess, hub_process

TIMEOUT = 90.0
DRAIN_GRACE = 0.5
LIMIT = 30.0
"""Seconds for a process to end: far below the minutes for which the models run."""

MODELS = "tests.model.exit_models"
SLOW = "tests.system.stop_models"


class Up:
    """A `hub up`, and a client of its gateway."""

    def __init__(self, process: HubProcess, url: str, http: AsyncClient) -> None:
        self.process = process
        self.url = url
        self.http = http

    async def run(self, model: str, text: str) -> dict[str, Any]:
        """The task with this request, once it has ended."""
        reply = await self.http.post(
            f"{self.url}/v1/models/{model}/tasks", json={"messages": text}, headers={"Prefer": "wait=60"}
        )
        assert reply.status_code == 200, reply.text
        task: dict[str, Any] = reply.json()
        return task

    async def submit(self, model: str, text: str = "") -> None:
        reply = await self.http.post(f"{self.url}/v1/models/{model}/tasks", json={"messages": text})
        assert reply.status_code == 202, reply.text

    async def wait_for(self, event: str) -> Mapping[str, object]:
        return await run_sync(self.process.wait_for, event, abandon_on_cancel=True)

    async def end(self) -> tuple[int, str]:
        code = await run_sync(self.process.wait, LIMIT)
        return code, await run_sync(self.process.output)


def settings_of(backend: str) -> dict[str, str]:
    ports = {name: str(free_port()) for name in ("gateway_port", "registry_port")}
    return {"backend": backend, "dashboard_port": "0", "drain_grace": str(DRAIN_GRACE)} | ports


@asynccontextmanager
async def hub_up(backend: str, *targets: str, wait: bool = True, **more: str) -> AsyncGenerator[Up]:
    settings = settings_of(backend) | more
    async with AsyncClient(timeout=TIMEOUT) as http:
        with hub_process(["up", *targets], settings, HUB) as process:
            up = Up(process, f"http://127.0.0.1:{settings['gateway_port']}", http)
            for _ in targets if wait else ():
                await up.wait_for("instance is up")
            yield up


@pytest.fixture
def backend(anyio_backend: tuple[str, object]) -> str:
    return anyio_backend[0]


def failure(task: Mapping[str, Any]) -> tuple[str, str]:
    assert task["state"] == "failed", task
    return task["failure"]["code"], task["failure"]["type"]


async def test_no_model_ends_a_process_in_which_a_good_one_runs(backend: str) -> None:
    with fail_after(TIMEOUT):
        async with hub_up(backend, "examples.model_a:ModelA", *(f"{MODELS}:{model.__name__}" for model in ALL)) as up:
            for model in ALL:
                for word, (_, kind) in EXITS.items():
                    assert failure(await up.run(model.__name__, word)) == ("model_exit", kind), word
                for word, (_, kind) in ERRORS.items():
                    assert failure(await up.run(model.__name__, word)) == ("model_error", kind), word
                stray, _ = failure(await up.run(model.__name__, CANCELLATION))
                assert stray in {"model_exit", "unexpected_cancellation"}
                assert (await up.run(model.__name__, "hello"))["state"] == "succeeded"
            assert failure(await up.run("Exits", "subtask")) == ("model_exit", "SystemExit")
            if backend == "asyncio":
                assert (await up.run("Exits", "callback"))["state"] == "succeeded"
            assert (await up.run("ModelA", "hello"))["result"] == {"reply": "Processed message: hello\n"}
            up.process.process.send_signal(signal.SIGINT)
            code, log = await up.end()
    assert code == 0, log
    assert "the process failed" not in log


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
async def test_a_forked_child_has_the_default_signal_handlers(backend: str, model: type) -> None:
    with fail_after(TIMEOUT):
        async with hub_up(backend, f"{MODELS}:{model.__name__}") as up:
            terminated = await up.run(model.__name__, "terminate")
            assert terminated["result"] == {"reply": str(-signal.SIGTERM)}
            interrupted = await up.run(model.__name__, "interrupt child")
            assert interrupted["result"] == {"reply": "1"}  # KeyboardInterrupt, as in any Python program
            for word, exit_code in zip(FORKS, ("7", "0", "1"), strict=True):
                assert (await up.run(model.__name__, word))["result"] == {"reply": exit_code}
            assert (await up.run(model.__name__, "hello"))["state"] == "succeeded"
            up.process.terminate()
            code, log = await up.end()
    assert code == 0, log
    assert log.count("stopping; send the signal again") == 1


@pytest.mark.parametrize("model", ["SlowRun", "SlowSetup", "SlowAwaited"])
async def test_a_process_ends_after_its_grace_while_threads_of_a_model_still_run(backend: str, model: str) -> None:
    with fail_after(TIMEOUT):
        async with hub_up(backend, f"{SLOW}:{model}", wait=model != "SlowSetup") as up:
            if model != "SlowSetup":
                await up.submit(model)
            await up.wait_for("the model runs")
            up.process.terminate()
            code, log = await up.end()
    assert code == 0, log
    if model != "SlowAwaited":  # Python does not wait for the threads of trio
        assert "ending without threads that are still running" in log
        assert f"hub.model {model}." in log, log
        assert "teardown is skipped" in log
        assert "torn down" not in log


@pytest.mark.parametrize("left", ["process", "thread"])
async def test_a_process_ends_although_a_model_left_threads_and_children(backend: str, left: str) -> None:
    with fail_after(TIMEOUT):
        async with hub_up(backend, f"{SLOW}:SlowRun") as up:
            assert (await up.run("SlowRun", left))["state"] == "succeeded"
            up.process.terminate()
            code, log = await up.end()
    assert code == 0, log
    assert ("exit handlers take too long" if left == "process" else "of the model's own") in log


async def test_a_stop_logs_what_it_waits_for(backend: str) -> None:
    with fail_after(TIMEOUT):
        async with hub_up(backend, f"{SLOW}:SlowRun", drain_grace="600") as up:
            await up.submit("SlowRun")
            await up.wait_for("the model runs")
            up.process.process.send_signal(signal.SIGINT)
            line = await up.wait_for("waiting for running tasks to finish")
            assert (line["model"], line["tasks"]) == ("SlowRun", 1)
            assert 0 < float(str(line["seconds"])) <= 600
            up.process.process.send_signal(signal.SIGINT)
            code, _ = await up.end()
    assert code == 128 + signal.SIGINT


async def test_slow_models_drain_together(backend: str) -> None:
    """One after the other they would need ten graces."""
    with fail_after(TIMEOUT):
        async with hub_up(backend, *[f"{SLOW}:SlowRun"] * 10, drain_grace="5") as up:
            for _ in range(10):
                await up.submit("SlowRun")
            for _ in range(10):
                await up.wait_for("the model runs")
            with anyio.fail_after(LIMIT):
                up.process.terminate()
                code, log = await up.end()
    assert code == 0, log
