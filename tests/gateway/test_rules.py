"""Rules of `buf.validate` at the gateway: JSON, protobuf, lines of a batch, the example and the description."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from hub.types import ModelName
from tests.contract.random_rules import field_of, ruled_contract, with_rules
from tests.gateway.fixtures import LocalGateway
from tests.gateway.test_submit import PROTOBUF, problem

F = FieldDescriptorProto
MODEL = ModelName("Ruled")
TASKS = f"/v1/models/{MODEL}/tasks"
RULED = ruled_contract(
    with_rules(field_of("unit_count", 1, F.TYPE_INT32), int32={"gte": 3, "lte": 10}),
    with_rules(field_of("name", 2, F.TYPE_STRING), string={"min_len": 2, "max_len": 3}),
)
ERRORS = [
    {
        "pointer": "/unitCount",
        "message": "must be greater than or equal to 3 and less than or equal to 10 (rule int32.gte_lte)",
    },
    {"pointer": "/name", "message": "must have at least 2 characters (rule string.min_len)"},
]


async def test_a_json_body_that_breaks_rules_is_a_422_with_every_violation(gateway: LocalGateway) -> None:
    await gateway.model(MODEL, RULED.contract)
    refused = await gateway.client.post(TASKS, json={"unitCount": 11, "name": "x"})
    assert problem(refused) == (422, "invalid_document")
    assert refused.json()["errors"] == ERRORS
    assert refused.json()["title"] == "The message breaks its rules"
    assert (await gateway.client.post(TASKS, json={"unitCount": 10, "name": "xy"})).status_code == 202


async def test_a_protobuf_body_that_breaks_rules_is_refused_in_the_same_way(gateway: LocalGateway) -> None:
    await gateway.model(MODEL, RULED.contract)
    body = RULED.request_class(unit_count=11, name="x").SerializeToString()
    refused = await gateway.client.post(TASKS, content=body, headers=PROTOBUF)
    assert problem(refused) == (422, "invalid_document")
    assert refused.json()["errors"] == ERRORS
    body = RULED.request_class(unit_count=10, name="xy").SerializeToString()
    assert (await gateway.client.post(TASKS, content=body, headers=PROTOBUF)).status_code == 202


async def test_a_line_of_a_batch_that_breaks_rules_is_refused_alone(gateway: LocalGateway) -> None:
    await gateway.model(MODEL, RULED.contract)
    lines = b'{"unitCount": 1, "name": "xy"}\n{"unitCount": 3, "name": "xy"}\n'
    reply = await gateway.client.post(
        f"/v1/models/{MODEL}/batches", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    answers: list[Any] = [msgspec.json.decode(line) for line in reply.content.splitlines()]
    texts = [str(answer) for answer in answers]
    assert sum("int32.gte_lte" in text for text in texts) == 1, texts
    assert sum("queued" in text for text in texts) == 1, texts


async def test_a_changed_comment_shows_in_the_description_without_a_new_contract(gateway: LocalGateway) -> None:
    await gateway.model(MODEL, RULED.contract)
    tags = []
    for text in ("", "An order.", "An order of the shop."):
        comments = (("ruled.Request", text), ("ruled.Request.name", "Its name.")) if text else ()
        gateway.watch.add(MODEL, RULED.contract, comments=comments)
        with anyio.fail_after(5):
            await gateway.parts.catalog.changed()
        reply = await gateway.client.get("/openapi.json")
        tags.append(reply.headers["etag"])
        schema = reply.json()["components"]["schemas"]["ruled.Request-Input"]
        assert schema.get("description", "") == text
        described = schema["properties"]["name"]["description"]
        assert described == ("Its name.\n\n" if text else "") + "Rules: `string { min_len: 2 max_len: 3 }`"
    assert len(set(tags)) == 3


async def test_the_derived_example_keeps_the_rules(gateway: LocalGateway) -> None:
    await gateway.model(MODEL, RULED.contract)
    description = (await gateway.client.get("/openapi.json")).json()
    body = description["paths"][f"/v1/models/{MODEL}/tasks"]["post"]["requestBody"]["content"]["application/json"]
    assert (await gateway.client.post(TASKS, json=body["example"])).status_code == 202
    properties = description["components"]["schemas"]["ruled.Request-Input"]["properties"]
    assert (properties["unitCount"]["minimum"], properties["unitCount"]["maximum"]) == (3, 10)
    assert (properties["name"]["minLength"], properties["name"]["maxLength"]) == (2, 3)
