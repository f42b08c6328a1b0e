"""The API description: up to date, exact, and conditional."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest
from anyio import from_thread
from jsonschema_rs import Draft202012Validator
from litestar.routes import HTTPRoute
from msgspec import Struct

from hub.contract import Contract
from hub.gateway.app import gateway_app
from hub.gateway.models.catalog import ServedModel
from hub.gateway.openapi.document import OpenApiDocument
from hub.gateway.openapi.model import ModelDescription, model_paths
from hub.gateway.schemas import (
    AcceptedBody,
    FailureBody,
    ModelContractBody,
    ProgressBody,
    ServedModelBody,
    TaskBody,
)
from hub.gateway.tasks.lists import TaskListBody, TaskSummaryBody
from hub.gateway.tasks.options import MAX_TIMEOUT, ResultTtls
from hub.ports.directory import ModelLimits
from hub.types import ModelName
from tests.contract.test_limits import complete, encoded
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.streaming import CONTRACT as STREAMING

SILENT = {"/", "/models", "/tasks", "/tasks/{task_id}", "/docs", "/openapi.json", "/assets/{path}", "/favicon.ico"}
"""Routes for browsers, which the description leaves out."""


async def document(gateway: LocalGateway) -> dict[str, Any]:
    reply = await gateway.client.get("/openapi.json")
    found: dict[str, Any] = reply.json()
    return found


def references(value: object) -> set[str]:
    match value:
        case dict():
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(inner) for inner in value.values()))
        case list():
            return set[str]().union(*(references(inner) for inner in value))
        case _:
            return set()


async def test_every_live_model_is_described_with_its_real_fields(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)

    found = await document(gateway)

    assert found["openapi"].startswith("3.1")
    schemas = found["components"]["schemas"]
    for path in ("/v1/models/Digits", "/v1/models/Digits/tasks"):
        content = found["paths"][path]["post"]["requestBody"]["content"]
        reference = content["application/json"]["schema"]["$ref"].removeprefix("#/components/schemas/")
        assert reference == "examples.digits.v1.DigitsRequest-Input"
        assert "pixels" in schemas[reference]["properties"]
        assert "pixels" in content["application/json"]["example"]
        assert content.keys() == {"application/json"}  # generators make poor clients of two media types
        assert found["paths"][path]["post"]["requestBody"]["x-hub-protobuf"] == {
            "mediaType": "application/x-protobuf",
            "message": "examples.digits.v1.DigitsRequest",
        }
    response = found["paths"]["/v1/models/Digits"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(schemas[response["$ref"].removeprefix("#/components/schemas/")]["properties"]) == {
        "label",
        "probabilities",
    }
    assert "messages" in schemas["examples.model_a.v1.ModelARequest-Input"]["properties"]


async def test_the_example_of_a_model_is_its_own(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1, example='{"messages": "from the author"}')
    assert example_of_model_a(await document(gateway)) == {"messages": "from the author"}
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1, example='{"messages": "another"}')
    assert example_of_model_a(await document(gateway)) == {"messages": "another"}


@pytest.mark.parametrize("example", ['{"pixels": []}', "no JSON", '{"messages": 7}'])
async def test_an_invalid_example_is_left_out(gateway: LocalGateway, example: str) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1, example=example)
    assert set(example_of_model_a(await document(gateway))) == {"messages"}
    assert isinstance(example_of_model_a(await document(gateway))["messages"], str)


def example_of_model_a(found: dict[str, Any]) -> dict[str, Any]:
    body = found["paths"]["/v1/models/ModelA"]["post"]["requestBody"]["content"]["application/json"]
    example: dict[str, Any] = body["example"]
    return example


async def test_every_reference_leads_somewhere(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    found = await document(gateway)
    for reference in references(found):
        target: Any = found
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]


async def test_every_component_is_referred_to(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(ModelName("Counts"), STREAMING, live=1)
    found = await document(gateway)
    used = references(found)
    components = {f"#/components/{kind}/{name}" for kind, each in found["components"].items() for name in each}
    assert components - used == set()


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("Task", TaskBody),
        ("Accepted", AcceptedBody),
        ("Progress", ProgressBody),
        ("Failure", FailureBody),
        ("ServedModel", ServedModelBody),
        ("ModelContract", ModelContractBody),
        ("TaskSummary", TaskSummaryBody),
        ("TaskList", TaskListBody),
    ],
)
async def test_every_member_of_a_reply_is_described_and_no_other(
    gateway: LocalGateway, schema: str, body: type[Struct]
) -> None:
    described = (await document(gateway))["components"]["schemas"][schema]
    assert set(described["properties"]) == {field.encode_name for field in msgspec.structs.fields(body)}
    required = {field.encode_name for field in msgspec.structs.fields(body) if field.required}
    assert set(described["required"]) >= required


async def test_the_description_has_the_limits_of_parameters() -> None:
    with anyio.fail_after(10):
        async with open_gateway(result_ttl=100.0, result_ttl_min=10.0, result_ttl_max=1000.0) as gateway:
            await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
            timeouts = await parameter(gateway, "Hub-Timeout")
            assert timeouts["schema"] == {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT}
            await gateway.list_model(MODEL_A, CONTRACT_A, live=1, limits=ModelLimits(max_timeout=30.0))
            assert (await parameter(gateway, "Hub-Timeout"))["schema"]["maximum"] == 30.0
            assert (await parameter(gateway, "Hub-Result-TTL"))["schema"] == {
                "type": "number",
                "minimum": 10.0,
                "maximum": 1000.0,
                "default": 100.0,
            }


async def parameter(gateway: LocalGateway, name: str) -> dict[str, Any]:
    """How the description describes a header of a call of model A."""
    found = await document(gateway)
    for described in found["paths"]["/v1/models/ModelA"]["post"]["parameters"]:
        reference = described.get("$ref", "").removeprefix("#/components/parameters/")
        resolved: dict[str, Any] = found["components"]["parameters"][reference] if reference else described
        if resolved["name"] == name:
            return resolved
    raise KeyError(name)


async def test_replies_of_all_kinds_are_what_the_description_says(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    await gateway.model(DIGITS, CONTRACT_DIGITS)
    headers = {"Hub-Timeout": "100", "Idempotency-Key": "k"}
    accepted = await gateway.client.post("/v1/models/Digits/tasks", json={}, headers=headers)
    location = accepted.headers["location"]
    ended = await gateway.client.post("/v1/models/ModelA/tasks", json={}, headers={"Prefer": "wait=5"})
    await gateway.parts.queues.poll()
    replies = [
        ("Accepted", accepted),
        ("Accepted", await gateway.client.post("/v1/models/Digits/tasks", json={}, headers=headers)),
        ("Problem", await gateway.client.post("/v1/models/Digits/tasks", json={"pixels": [1]}, headers=headers)),
        ("Problem", await gateway.client.post("/v1/models/Digits/tasks", json={}, headers={"Hub-Timeout": "-"})),
        ("Task", await gateway.client.get(location)),
        ("Task", await gateway.client.delete(location)),
        ("Problem", await gateway.client.get(f"{location}/result")),
        ("Problem", await gateway.client.delete(ended.headers["location"])),
        ("Task", ended),
        ("Overview", await gateway.client.get("/v1/overview")),
    ]
    found = await document(gateway)
    for schema, reply in replies:
        rules = {"$ref": f"#/components/schemas/{schema}", "components": found["components"]}
        Draft202012Validator(rules, validate_formats=True).validate(reply.json())


async def test_big_contracts_are_described_outside_of_the_event_loop(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, int] = {}
    late = ModelName("Late")
    big = Contract.decode(encoded(complete(40)))
    loop = threading.get_ident()

    def described(model: ServedModel, suffix: str) -> ModelDescription:
        threads[model.name] = threading.get_ident()
        if model.name == MODEL_A:
            # Another big model comes up while this one is described.
            from_thread.run(partial(gateway.list_model, late, big, live=1))
        return model_paths(model, suffix)

    monkeypatch.setattr("hub.gateway.openapi.document.model_paths", described)
    await gateway.list_model(MODEL_A, big, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    found = await document(gateway)

    assert {f"/v1/models/{name}" for name in (MODEL_A, DIGITS, late)} <= found["paths"].keys()
    assert {name for name, thread in threads.items() if thread != loop} == {MODEL_A, late}


async def test_a_model_without_instances_is_not_described(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=0)
    found = await document(gateway)
    assert not [path for path in found["paths"] if "ModelA" in path]
    assert not [name for name in found["components"]["schemas"] if "model_a" in name]


async def test_a_known_description_is_a_304(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    first = await gateway.client.get("/openapi.json")
    again = await gateway.client.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await gateway.list_model(MODEL_A, CONTRACT_A, live=2)  # more instances change nothing about the API
    assert (await gateway.client.get("/openapi.json")).headers["etag"] == first.headers["etag"]
    await gateway.list_model(MODEL_A, CONTRACT_DIGITS, live=2)
    assert (await gateway.client.get("/openapi.json")).headers["etag"] != first.headers["etag"]


async def test_a_long_poll_of_the_description_ends_with_a_new_model(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    etag = (await gateway.client.get("/openapi.json")).headers["etag"]
    paths: list[str] = []

    async def hold() -> None:
        reply = await gateway.client.get("/openapi.json", headers={"If-None-Match": etag, "Prefer": "wait=30"})
        paths.extend(reply.json()["paths"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        assert paths == []
        await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    assert "/v1/models/Digits" in paths


async def test_the_document_is_encoded_once_for_each_set_of_models(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    description = OpenApiDocument(gateway.parts.catalog, guarded=False, ttls=ResultTtls())
    assert description.current()[1] is description.current()[1]


async def test_the_document_of_one_model_has_its_operations_and_those_of_no_model(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    whole = await document(gateway)
    reply = await gateway.client.get("/openapi.json", params={"model": "Digits"})
    found = reply.json()
    models = [path for path in whole["paths"] if path.startswith(f"/v1/models/{MODEL_A}")]
    assert found["paths"] == {path: item for path, item in whole["paths"].items() if path not in models}
    assert [tag["name"] for tag in found["tags"]] == [tag["name"] for tag in whole["tags"] if tag["name"] != MODEL_A]
    assert references(found) <= references(whole)
    assert {f"#/components/schemas/{name}" for name in found["components"]["schemas"]} >= {
        reference for reference in references(found) if "/schemas/" in reference
    }
    etag = reply.headers["etag"]
    await gateway.list_model(MODEL_A, CONTRACT_DIGITS, live=1)  # another model: nothing of it is here
    again = await gateway.client.get("/openapi.json", params={"model": "Digits"}, headers={"If-None-Match": etag})
    assert again.status_code == 304
    refused = await gateway.client.get("/openapi.json", params={"model": "None"})
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_model")


async def test_the_index_lists_the_models_without_their_operations(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(ModelName("Streams"), STREAMING, live=1)
    found = (await gateway.client.get("/openapi.json", params={"index": "true"})).json()
    assert [(each["name"], each["request"], each["streaming"]) for each in found["x-hub-models"]] == [
        ("ModelA", CONTRACT_A.request, False),
        ("Streams", STREAMING.request, True),
    ]
    assert not [path for path in found["paths"] if "ModelA" in path or "Streams" in path]
    assert "/v1/models/{model}" in found["paths"]


async def test_the_page_shows_all_models_up_to_a_number_and_then_their_index(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.gateway.routes.pages.MODELS_ON_A_PAGE", 1)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    assert 'data-openapi="/openapi.json" data-most="1"' in (await gateway.client.get("/docs")).text
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    assert 'data-openapi="/openapi.json?index=true" data-most="0"' in (await gateway.client.get("/docs")).text
    one = (await gateway.client.get("/docs", params={"model": "a&b"})).text
    assert 'data-openapi="/openapi.json?model=a%26b" data-most="0"' in one


async def test_every_route_is_described_and_every_description_is_a_route(gateway: LocalGateway) -> None:
    app = gateway_app(gateway.parts)
    routes = {
        (route.path_format, method.lower())
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path_format not in SILENT
        for method in route.methods - {"OPTIONS"}
    }
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    described = {
        (path.replace("/ModelA", "/{model}"), method)
        for path, item in (await document(gateway))["paths"].items()
        for method in item
    }
    assert {(path, "get") for path, method in described if method == "head"} <= routes  # each GET answers HEAD too
    assert {(path, method) for path, method in described if method != "head"} == routes


@pytest.mark.parametrize("credential", [{"Authorization": "Bearer one"}, {"X-API-Key": "two"}])
async def test_with_keys_the_api_requires_one_and_the_pages_do_not(credential: dict[str, str]) -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="one,two") as gateway:
            await gateway.model()
            for path in ("/v1/models", "/v1/overview", "/metrics", "/v1/tasks/x"):
                reply = await gateway.client.get(path)
                assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")
            assert (await gateway.client.post("/v1/models/ModelA", json={})).status_code == 401
            assert (await gateway.client.get("/v1/models", headers=credential)).status_code == 200
            assert (await gateway.client.get("/v1/models", headers={"X-API-Key": "three"})).status_code == 401
            for path in ("/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/favicon.ico"):
                assert (await gateway.client.get(path)).status_code == 200
            assert set((await document(gateway))["components"]["securitySchemes"]) == {"key", "bearer"}


async def test_the_token_is_accepted_for_the_metrics_only() -> None:
    token = {"Authorization": "Bearer shared"}
    with anyio.fail_after(10):
        async with open_gateway(api_keys="one", token="shared") as gateway:
            assert (await gateway.client.get("/metrics", headers=token)).status_code == 200
            assert (await gateway.client.get("/metrics", headers={"X-API-Key": "one"})).status_code == 200
            assert (await gateway.client.get("/metrics")).status_code == 401
            assert (await gateway.client.get("/v1/models", headers=token)).status_code == 401


async def test_with_a_token_but_no_keys_the_metrics_are_as_open_as_the_rest() -> None:
    with anyio.fail_after(10):
        async with open_gateway(token="shared") as gateway:
            assert (await gateway.client.get("/metrics")).status_code == 200


async def test_without_keys_the_description_requires_none(gateway: LocalGateway) -> None:
    assert "securitySchemes" not in (await document(gateway))["components"]


async def test_answers_of_a_batch_are_what_the_description_says(gateway: LocalGateway) -> None:
    await gateway.model()
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": "k"}
    replies = [
        await gateway.client.post("/v1/models/ModelA/batches", content=b"{}\n{\n", headers=headers) for _ in range(2)
    ]
    found = await document(gateway)
    validator = Draft202012Validator({"$ref": "#/components/schemas/BatchAnswer", "components": found["components"]})
    lines = [msgspec.json.decode(line) for reply in replies for line in reply.content.splitlines()]
    assert [sorted(line) for line in lines] == [
        ["expires_at", "id", "index", "state"],
        ["error", "index"],
        ["expires_at", "id", "index", "replayed", "state"],
        ["error", "index"],
    ]
    for line in lines:
        validator.validate(line)
    assert not validator.is_valid({"index": 0, "id": "no", "error": {}})
