"""`hub up --reload` on a model of its own folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, sleep
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from hub.http.client import open_client
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.support.server import free_port
from tests.system.processes import HUB, HubProcess, hub_process

TIMEOUT = 100.0

PROTO = """
syntax = "proto3";
package reloaded.v1;
message Question { string text = 1; }
message Answer { string text = 1; }
"""
MODEL = """
import hub
from anyio import sleep_forever
from reloaded_pb2 import Answer, Question


class Reloaded(hub.Model[Question, Answer]):
    concurrency = 2

    async def process_request(self, request: Question) -> Answer:
        if "WAITS" in request.text + "WAITS" and request.text == "wait":
            await sleep_forever()
        return Answer(text="one " + request.text)
"""
WAITING = (
    'if "WAITS" in request.text + "WAITS" and request.text == "wait":\n            await sleep_forever()\n        '
)


def children_of(process: HubProcess) -> list[int]:
    """The processes that a thread of the process has started, as trio does, or its main thread, as asyncio does."""
    tasks = Path(f"/proc/{process.process.pid}/task").glob("*/children")
    return [int(child) for each in tasks for child in each.read_text().split()]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Project:
    """The folder of a model, and a client of the hub that runs it."""

    def __init__(self, folder: Path, process: HubProcess, gateway: str, http: AsyncClient) -> None:
        self.folder = folder
        self.process = process
        self.gateway = gateway
        self.http = http

    def edit(self, old: str, new: str, file: str = "reloaded.py") -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    async def until(self, event: str) -> dict[str, Any]:
        return dict(await run_sync(self.process.wait_for, event))

    async def call(self, text: str) -> Any:
        reply = await self.http.post(f"{self.gateway}/v1/models/Reloaded", json={"text": text})
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def task(self, path: str) -> Any:
        return (await self.http.get(f"{self.gateway}{path}", params={"wait": "20"})).json()


Start = Callable[..., HubProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: tuple[str, Any]) -> Generator[Start]:
    """Starts `hub up reloaded:Reloaded --reload` in a folder with its files."""
    (tmp_path / "protos").mkdir()
    (tmp_path / "protos" / "reloaded.proto").write_text(PROTO)
    (tmp_path / "reloaded.py").write_text(MODEL)
    subprocess.run([*HUB, "proto", "build"], cwd=tmp_path, check=True, capture_output=True)
    managers = []

    def run(**settings: str) -> HubProcess:
        defaults = {"backend": anyio_backend[0], "registry_port": "0", "dashboard_port": "0"}
        monkeypatch.chdir(tmp_path)
        manager = hub_process(["up", "reloaded:Reloaded", "--reload"], defaults | settings, HUB, folder=tmp_path)
        managers.append(manager)
        return manager.__enter__()

    yield run
    for manager in managers:
        manager.__exit__(None, None, None)


async def scenario(project: Project) -> None:
    await project.until("reloading when a file changes")
    assert await project.call("a") == {"text": "one a"}

    # What runs is handed back, and the new code takes it.
    submitted = await project.http.post(f"{project.gateway}/v1/models/Reloaded/tasks", json={"text": "wait"})
    address = submitted.headers["location"]
    while (await project.http.get(f"{project.gateway}{address}")).json()["state"] != "running":
        await sleep(0.05)
    project.edit(WAITING, "")
    reloaded = await project.until("reloaded")
    assert reloaded["models"] == "Reloaded"
    task = await project.task(address)
    assert (task["state"], task["result"]) == ("succeeded", {"text": "one wait"})
    assert await project.call("a") == {"text": "one a"}

    # A syntax error keeps the old code, and is named by file and line.
    project.edit('"one "', '"two ')
    refused = await project.until("the new code cannot be loaded, so the old code goes on")
    assert "SyntaxError" in str(refused["event"])
    assert "in reloaded.py, line 11" in str(refused["lines"])
    assert await project.call("b") == {"text": "one b"}
    project.edit('"two ', '"two "')
    await project.until("reloaded")
    assert await project.call("b") == {"text": "two b"}


async def test_changed_code_takes_over_what_runs_and_a_mistake_keeps_the_old_code(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start(gateway_port=f"{port}")
    with fail_after(TIMEOUT):
        async with open_client() as http:
            await scenario(Project(tmp_path, process, f"http://127.0.0.1:{port}", http))


async def test_a_changed_proto_is_built_first_and_a_failing_setup_is_named(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start(gateway_port=f"{port}")
    with fail_after(TIMEOUT):
        async with open_client() as http:
            project = Project(tmp_path, process, f"http://127.0.0.1:{port}", http)
            await project.until("reloading when a file changes")

            # A changed .proto is built first. One that cannot be built changes nothing.
            project.edit("string text = 1; }\n", "strin text = 1; }\n", "protos/reloaded.proto")
            refused = await project.until("the .proto files cannot be built, so the old code goes on")
            assert "reloaded.proto:" in str(refused["event"])
            fixed = PROTO.replace("message Answer {", "message Answer { int32 length = 2;")
            (tmp_path / "protos" / "reloaded.proto").write_text(fixed)
            await project.until("reloaded")
            assert await project.call("b") == {"text": "one b", "length": 0}

            # An instance that fails is named, and the next change starts it again.
            project.edit(
                "    concurrency = 2\n",
                "    concurrency = 2\n    def setup(self):\n        raise OSError('no weights')\n",
            )
            ended = await project.until("the models have ended; waiting for a change of their files")
            assert "no weights" in str(ended)
            project.edit("raise OSError('no weights')", "pass")
            await project.until("reloaded")
            assert await project.call("c") == {"text": "one c", "length": 0}
            process.terminate()
            assert await run_sync(process.wait) == 0


async def test_with_servers_the_process_of_the_models_needs_no_connection_of_its_own(
    start: Start, tmp_path: Path, amqp_url: str, redis_url: str, anyio_backend: tuple[str, Any]
) -> None:
    port = free_port()
    redis = emptied(redis_url, {"asyncio": 9, "trio": 10}[anyio_backend[0]])
    await run_sync(delete_queues, amqp_url, "Reloaded")
    process = start(gateway_port=f"{port}", broker_url=amqp_url, store_url=redis, directory_url=redis)
    with fail_after(TIMEOUT):
        async with open_client() as http:
            await scenario(Project(tmp_path, process, f"http://127.0.0.1:{port}", http))


async def test_the_process_of_the_models_does_not_outlive_a_killed_hub(start: Start) -> None:
    with fail_after(TIMEOUT):
        process = start(gateway_port="0")
        await run_sync(process.wait_for, "reloading when a file changes")
        children = children_of(process)
        process.kill()
        while any(is_alive(child) for child in children):
            await sleep(0.05)
    assert len(children) == 1


def test_the_first_generation_has_to_be_loaded(start: Start, tmp_path: Path) -> None:
    (tmp_path / "reloaded.py").write_text("import hub\nimport gone_for_good\n")
    process = start(gateway_port="0")

    assert process.wait() == 2
    assert "gone_for_good, which is not installed" in process.output()


def test_reload_needs_a_model() -> None:
    done = subprocess.run(
        [*HUB, "up", "--reload", "--dashboard-port", "0"],
        env={**os.environ, "HUB_MODELS": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (2, "hub: --reload needs a model: hub up pkg.module:Class --reload\n")
