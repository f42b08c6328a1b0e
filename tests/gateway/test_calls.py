"""The synchronous call: the reply is the response message itself."""

from __future__ import annotations

import anyio

from examples.model_a.v1 import model_a_pb2
from hub.stores import open_store
from hub.task import Failure
from hub.types import TaskState
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import LocalGateway, echo_a, open_gateway

PROTOBUF = "application/x-protobuf"


async def test_a_json_request_is_answered_with_the_response_message(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)

    reply = await gateway.client.post("/v1/models/ModelA", json={"messages": "hi"})

    assert (reply.status_code, reply.json()) == (200, {"reply": "Processed message: hi\n"})
    assert reply.headers["hub-task"] == gateway.received[0].id


async def test_a_protobuf_request_is_answered_with_protobuf_when_that_is_accepted(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    body = model_a_pb2.ModelARequest(messages="hi").SerializeToString()

    reply = await gateway.client.post(
        "/v1/models/ModelA", content=body, headers={"Content-Type": PROTOBUF, "Accept": PROTOBUF}
    )

    assert reply.headers["content-type"] == PROTOBUF
    assert model_a_pb2.ModelAResponse.FromString(reply.content).reply == "Processed message: hi\n"


async def test_a_response_field_at_its_default_is_written(gateway: LocalGateway) -> None:
    await gateway.model(answer=lambda _: b"")

    reply = await gateway.client.post("/v1/models/ModelA", json={})

    assert reply.json() == {"reply": ""}


async def test_a_failed_task_is_a_502_with_the_failure_and_the_url_of_the_task(gateway: LocalGateway) -> None:
    await gateway.model(
        answer=lambda _: Failure(code="model_error", type="builtins.ValueError", message="no such word")
    )

    reply = await gateway.client.post("/v1/models/ModelA", json={})

    task = gateway.received[0].id
    assert reply.status_code == 502
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["location"] == f"/v1/tasks/{task}"
    problem = reply.json()
    assert problem["code"] == "task_failed"
    assert problem["failure"] == {"code": "model_error", "type": "builtins.ValueError", "message": "no such word"}
    assert (await gateway.client.get(reply.headers["location"])).json()["state"] == "failed"


async def test_a_call_that_takes_too_long_is_a_504_whose_task_goes_on(gateway: LocalGateway) -> None:
    await gateway.model()

    reply = await gateway.client.post("/v1/models/ModelA", json={"messages": "slow"}, headers={"Prefer": "wait=0"})

    assert (reply.status_code, reply.json()["code"], reply.json()["state"]) == (504, "call_timeout", "queued")
    await gateway.model(answer=echo_a)
    task = await gateway.client.get(reply.headers["location"], params={"wait": 5})
    assert task.json()["result"] == {"reply": "Processed message: slow\n"}


async def test_the_server_decides_how_long_a_call_waits_when_the_client_does_not() -> None:
    with anyio.fail_after(10):
        async with open_gateway(call_wait=0.01) as gateway:
            await gateway.model()
            assert (await gateway.client.post("/v1/models/ModelA", json={})).status_code == 504


async def test_a_call_has_the_reply_channel_of_its_gateway(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)

    await gateway.client.post("/v1/models/ModelA", json={}, headers={"traceparent": "00-abc-def-01"})

    assert gateway.received[0].reply_channel == gateway.store.channel
    assert gateway.received[0].traceparent == "00-abc-def-01"


async def test_many_calls_at_once_share_few_flushes(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    replies: dict[int, str] = {}

    async def call(number: int) -> None:
        reply = await gateway.client.post("/v1/models/ModelA", json={"messages": str(number)})
        replies[number] = reply.json()["reply"]

    async with anyio.create_task_group() as tg:
        for number in range(200):
            tg.start_soon(call, number)

    assert replies == {number: f"Processed message: {number}\n" for number in range(200)}
    statistics = gateway.parts.tasks.publisher.statistics()
    assert statistics.submits == 200
    assert statistics.batches < 100


async def test_a_store_lost_during_a_wait_does_not_end_the_task() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                store.changed_error = LOST

                call = await gateway.client.post("/v1/models/ModelA", json={}, headers={"Prefer": "wait=1"})
                submit = await gateway.client.post("/v1/models/ModelA/tasks", json={}, headers={"Prefer": "wait=1"})

                assert (call.status_code, submit.status_code) == (504, 202)
                for reply in (call, submit):
                    assert (await gateway.client.get(reply.headers["location"])).json()["state"] == TaskState.QUEUED
