"""Submits, and the errors of submits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from httpx2 import Response

from examples.model_a.v1 import model_a_pb2
from hub.brokers import open_broker
from hub.brokers.options import BrokerOptions
from hub.types import DEFAULT_RESULT_TTL, ModelName, parse_task_id
from tests.gateway.fakes import LOST, FaultyBroker
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, echo_a, open_gateway

TASKS = "/v1/models/ModelA/tasks"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def problem(reply: Response) -> tuple[int, str]:
    """Status and code of a reply that must be a well-formed problem."""
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == reply.status_code
    assert body["type"] == f"urn:hub:problem:{body['code']}"
    assert body["title"]
    assert body["detail"]
    return reply.status_code, body["code"]


async def test_an_accepted_task_is_a_202_with_its_id_its_address_and_its_lifetime(gateway: LocalGateway) -> None:
    await gateway.model()

    reply = await gateway.client.post(TASKS, json={"messages": "hi"})

    body = reply.json()
    assert reply.status_code == 202
    assert parse_task_id(body["id"]) == body["id"]
    assert reply.headers["location"] == f"/v1/tasks/{body['id']}"
    assert body["state"] == "queued"
    (record,) = await gateway.store.fetch([body["id"]])
    assert record.expires_at - record.created_at == pytest.approx(DEFAULT_RESULT_TTL, abs=5)  # type: ignore[union-attr]
    assert body["expires_at"] > body["created_at"]


async def test_a_client_that_waits_gets_the_task_with_its_result(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)

    reply = await gateway.client.post(TASKS, json={"messages": "hi"}, headers={"Prefer": "wait=5"})

    assert (reply.status_code, reply.headers["preference-applied"]) == (200, "wait=5")
    body = reply.json()
    assert (body["state"], body["result"]) == ("succeeded", {"reply": "Processed message: hi\n"})
    assert body["result_url"] == f"{reply.headers['location']}/result"


async def test_a_client_whose_wait_ends_before_the_task_gets_the_id(gateway: LocalGateway) -> None:
    await gateway.model()

    reply = await gateway.client.post(TASKS, json={}, headers={"Prefer": "wait=1"})

    assert reply.status_code == 202
    assert reply.headers["preference-applied"] == "wait=1"


async def test_the_body_may_be_protobuf(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    body = model_a_pb2.ModelARequest(messages="hi").SerializeToString()

    reply = await gateway.client.post(TASKS, content=body, headers={**PROTOBUF, "Prefer": "wait=5"})

    assert reply.json()["result"] == {"reply": "Processed message: hi\n"}


async def test_the_queue_gets_the_message_in_protobuf_with_its_contract(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)

    await gateway.client.post(TASKS, json={"messages": "hi"}, headers={"Prefer": "wait=5", "tracestate": "a=b"})

    (task,) = gateway.received
    assert (task.model, task.fingerprint, task.tracestate) == (MODEL_A, CONTRACT_A.fingerprint, "a=b")
    assert model_a_pb2.ModelARequest.FromString(task.body).messages == "hi"


async def test_before_the_first_list_every_model_is_a_503(gateway: LocalGateway) -> None:
    reply = await gateway.client.post(TASKS, json={})
    assert problem(reply) == (503, "registry_unreachable")
    assert int(reply.headers["retry-after"]) >= 1


async def test_a_model_that_the_registry_never_had_is_unknown(gateway: LocalGateway) -> None:
    await gateway.model()
    assert problem(await gateway.client.post("/v1/models/Unknown/tasks", json={})) == (404, "unknown_model")
    assert problem(await gateway.client.post("/v1/models/Unknown", json={})) == (404, "unknown_model")


async def test_a_known_model_without_instances_is_a_503(gateway: LocalGateway) -> None:
    await gateway.model(live=0)
    reply = await gateway.client.post(TASKS, json={})
    assert problem(reply) == (503, "model_unavailable")
    assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_a_body_of_another_type_is_refused(gateway: LocalGateway, media_type: str) -> None:
    await gateway.model()
    reply = await gateway.client.post(TASKS, content=b"{}", headers={"Content-Type": media_type})
    assert problem(reply) == (415, "unsupported_media_type")


async def test_a_document_with_bad_fields_is_refused_with_a_pointer_to_each(gateway: LocalGateway) -> None:
    await gateway.model(DIGITS, CONTRACT_DIGITS)

    reply = await gateway.client.post("/v1/models/Digits/tasks", json={"pixels": [1, "x", 3, {}], "colour": 1})

    assert problem(reply) == (422, "invalid_document")
    assert {error["pointer"] for error in reply.json()["errors"]} == {"/pixels/1", "/pixels/3", "/colour"}


async def test_text_that_is_no_json_is_refused(gateway: LocalGateway) -> None:
    await gateway.model()
    reply = await gateway.client.post(TASKS, content=b"{", headers={"Content-Type": "application/json"})
    assert problem(reply) == (400, "malformed_json")


async def test_bytes_that_are_no_protobuf_are_refused(gateway: LocalGateway) -> None:
    await gateway.model()
    assert problem(await gateway.client.post(TASKS, content=b"\xff", headers=PROTOBUF)) == (422, "invalid_request")


async def test_a_body_over_the_limit_is_refused() -> None:
    with anyio.fail_after(10):
        async with open_gateway(body_limit=100) as gateway:
            await gateway.model()
            reply = await gateway.client.post(TASKS, json={"messages": "x" * 100})
            assert problem(reply)[0] == 413


async def test_a_full_queue_is_a_429_and_the_task_does_not_exist() -> None:
    with anyio.fail_after(10):
        async with (
            open_broker("memory://", BrokerOptions(max_length=1)) as broker,
            open_gateway(broker=broker) as gateway,
        ):
            await gateway.model()
            assert (await gateway.client.post(TASKS, json={})).status_code == 202
            reply = await gateway.client.post(TASKS, json={})
            assert problem(reply) == (429, "queue_full")
            assert int(reply.headers["retry-after"]) >= 1
            assert "location" not in reply.headers


async def test_a_broker_out_of_reach_is_a_503_without_an_id() -> None:
    with anyio.fail_after(10):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            async with open_gateway(broker=broker) as gateway:
                await gateway.model()
                broker.error = LOST
                reply = await gateway.client.post(TASKS, json={})
                assert problem(reply) == (503, "connection_lost")
                assert int(reply.headers["retry-after"]) >= 1
                assert "id" not in reply.json()


async def test_a_broker_that_does_not_confirm_is_a_503_without_an_id() -> None:
    with anyio.fail_after(10):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            async with open_gateway(broker=broker, publish_timeout=0.05) as gateway:
                await gateway.model()
                broker.stuck = anyio.Event()
                assert problem(await gateway.client.post(TASKS, json={})) == (503, "accept_timeout")


async def test_a_queue_that_was_deleted_is_a_503(gateway: LocalGateway) -> None:
    await gateway.list_model(ModelName("Ghost"), CONTRACT_A, live=1)
    assert problem(await gateway.client.post("/v1/models/Ghost/tasks", json={})) == (503, "unroutable")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nowhere", (404, "not_found")),
        ("DELETE", "/v1/models/ModelA", (405, "method_not_allowed")),
        ("PUT", TASKS, (405, "method_not_allowed")),
    ],
)
async def test_an_unknown_route_is_a_problem_too(
    gateway: LocalGateway, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert problem(await gateway.client.request(method, path)) == expected


async def test_a_bug_is_a_500_without_secrets(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.model()

    def broken(_self: object, _name: str) -> Any:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(type(gateway.parts.catalog), "find", broken)
    reply = await gateway.client.post(TASKS, json={})
    assert problem(reply) == (500, "internal_error")
    assert "swordfish" not in reply.text


@pytest.mark.parametrize("path", ["/v1/models/ModelA", TASKS])
@pytest.mark.parametrize(
    "media_type", [None, "", " ", "text/plain", "text/plain;application/json", "multipart/form-data"]
)
async def test_a_body_without_a_declared_type_makes_no_task(
    gateway: LocalGateway, path: str, media_type: str | None
) -> None:
    await gateway.model()
    headers = {} if media_type is None else {"Content-Type": media_type}
    reply = await gateway.client.post(path, content=b'{"messages": "x"}', headers=headers)
    assert problem(reply) == (415, "unsupported_media_type")
    assert "application/json" in reply.json()["detail"]
    metrics = (await gateway.client.get("/metrics")).text
    assert 'hub_submits_total{model="ModelA",result="accepted"} 0.0' in metrics
