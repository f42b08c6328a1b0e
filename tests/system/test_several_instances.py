"""`hub model --instances`: several processes below one."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack

import pytest
from anyio import fail_after, sleep
from anyio.to_thread import run_sync

from hub.http.client import open_client
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.system.processes import HUB, Hub, HubProcess, hub_process, up

TIMEOUT = 90.0
COUNT = 3


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str) -> AsyncGenerator[Hub]:
    backend = anyio_backend[0]
    redis = emptied(redis_url, {"asyncio": 13, "trio": 14}[backend])
    await run_sync(delete_queues, amqp_url, "Echo")
    common = {"backend": backend, "broker_url": amqp_url}
    registry_settings = common | {"directory_url": redis, "registry_port": "0"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            registry_url = await up(registry)
            rest = common | {"registry_url": registry_url, "store_url": redis}
            with hub_process(["hub.gateway"], rest | {"gateway_port": "0"}) as gateway:
                yield Hub(rest, registry_settings, registry, registry_url, await up(gateway), http)


@pytest.fixture
async def parent(hub: Hub) -> AsyncGenerator[HubProcess]:
    await hub.until_listed("Echo", 0)
    with ExitStack() as stack:
        command = ["model", "tests.system.models:Echo", "--instances", str(COUNT)]
        yield stack.enter_context(hub_process(command, hub.settings, HUB))


async def started(parent: HubProcess) -> Sequence[int]:
    """The ids of the processes of the instances."""
    return [int(str((await run_sync(parent.wait_for, "has started"))["pid"])) for _ in range(COUNT)]


async def until_gone(pids: Sequence[int]) -> None:
    while any(alive(pid) for pid in pids):
        await sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_instances_run_tasks_and_drain_at_a_signal(hub: Hub, parent: HubProcess) -> None:
    with fail_after(TIMEOUT):
        pids = await started(parent)
        await hub.until_listed("Echo", COUNT)
        await hub.until_offered("Echo")
        ids = [await hub.submit("Echo", {"messages": f"1 {number}"}) for number in range(4 * COUNT)]
        running = 0
        while running < 4 * COUNT:  # `concurrency` of Echo is 4, so each instance has its share
            states = [(await hub.http.get(f"{hub.gateway}/v1/tasks/{task_id}")).json()["state"] for task_id in ids]
            running = sum(state != "queued" for state in states)
        parent.terminate()
        assert await run_sync(parent.wait) == 0
        await until_gone(pids)
        tasks = [await hub.ended(task_id) for task_id in ids]
        live, _ = await hub.models()
    assert [(task["state"], task["attempt"]) for task in tasks] == [("succeeded", 1)] * len(ids)
    assert "Echo" not in live


async def test_an_instance_that_is_killed_ends_all_with_its_code_and_is_named(hub: Hub, parent: HubProcess) -> None:
    with fail_after(TIMEOUT):
        pids = await started(parent)
        await hub.until_listed("Echo", COUNT)
        os.kill(pids[1], signal.SIGKILL)
        said = await run_sync(parent.wait_for, "has ended with an error")
        code = await run_sync(parent.wait)
        await until_gone(pids)
    assert code == 128 + signal.SIGKILL
    assert (said["pid"], said["exit_code"], said["of"]) == (pids[1], code, COUNT)


async def test_one_instance_that_is_stopped_leaves_the_others(hub: Hub, parent: HubProcess) -> None:
    with fail_after(TIMEOUT):
        pids = await started(parent)
        await hub.until_listed("Echo", COUNT)
        os.kill(pids[0], signal.SIGTERM)
        said = await run_sync(parent.wait_for, "is not restarted")
        await hub.until_listed("Echo", COUNT - 1)
        parent.terminate()
        assert await run_sync(parent.wait) == 0
        await until_gone(pids)
    assert said["pid"] == pids[0]


async def test_no_instance_outlives_a_killed_parent(hub: Hub, parent: HubProcess) -> None:
    with fail_after(TIMEOUT):
        pids = await started(parent)
        await hub.until_listed("Echo", COUNT)
        parent.kill()
        await until_gone(pids)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--instances", "0"], "--instances is 0; a model needs at least 1"),
        (["--instances=2", "--instance-port", "8080"], "only one of 2 processes can listen there"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: Sequence[str], reason: str) -> None:
    with hub_process(["model", "tests.system.models:Echo", *options], {}, HUB) as process:
        assert process.wait() == 2
        assert reason in process.output()


def test_the_exit_code_of_instances_that_cannot_start_is_theirs() -> None:
    with hub_process(["model", "tests.system.models:Gone", "--instances", "2"], {}, HUB) as process:
        assert process.wait() == 2
        output = process.output()
        assert "has no model Gone" in output
        assert "an instance has ended with an error" in output
