"""The responses of every route of every server are in its description."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.http.described import complete, refusals
from hub.http.headers import seconds_of
from hub.model.instance.routes import instance_description
from tests.gateway.fixtures import CONTRACT_A, MODEL_A, open_gateway
from tests.registry.fixtures import served_registry

BEFORE_ROUTES = {"400", "408", "421", "429", "431", "503", "default"}
OF_CHANGES = {"403"}
OF_BODIES = {"413", "415"}


async def gateway() -> dict[str, Any]:
    async with open_gateway() as gateway:
        await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
        found: dict[str, Any] = (await gateway.client.get("/openapi.json")).json()
        return found


async def registry() -> dict[str, Any]:
    async with served_registry() as served:
        found: dict[str, Any] = await served.json("/openapi.json")
        return found


async def instance() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(instance_description())
    return found


@pytest.mark.parametrize("described", [gateway, registry, instance])
async def test_every_operation_has_the_responses_of_every_route(described: Any) -> None:
    document = await described()

    problem = document["components"]["schemas"]["Problem"]
    assert {"type", "title", "status", "detail", "code"} <= set(problem["properties"])
    for path, item in document["paths"].items():
        for method, operation in item.items():
            responses = operation["responses"]
            wanted = BEFORE_ROUTES | (OF_BODIES if "requestBody" in operation else set())
            wanted |= set() if method in ("get", "head") else OF_CHANGES
            wanted |= set() if path.startswith("/health/") else {"401"}
            assert wanted <= set(responses), (method, path)
            for status, response in responses.items():
                if method == "head":
                    assert "content" not in response, (path, status)
                elif status[0] == "4":
                    assert "application/json" not in response.get("content", {}), (method, path, status)


def test_the_responses_of_an_operation_are_kept_and_its_errors_are_problems() -> None:
    own: dict[str, Any] = {"description": "No such thing."}
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    document: dict[str, Any] = {
        "paths": {
            "/": {"get": {"responses": {"404": dict(own), "503": dict(own)}}, "head": {"responses": {"200": own}}}
        }
    }

    complete(document)

    assert document["paths"]["/"]["get"]["responses"] == {
        **refusals("get", body=False),
        "404": own | problem,
        "503": own | problem,
    }
    assert document["paths"]["/"]["head"]["responses"] == {**refusals("head", body=False), "200": own}
    assert "security" not in document


def test_a_description_has_the_credentials_that_the_server_requires() -> None:
    document: dict[str, Any] = {
        "paths": {"/": {"get": {"responses": {}}}, "/health/live": {"get": {"responses": {"200": {}}}}}
    }

    complete(document, guarded=True)

    assert {name for each in document["security"] for name in each} == set(document["components"]["securitySchemes"])
    assert "401" in document["paths"]["/"]["get"]["responses"]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert "401" not in document["paths"]["/health/live"]["get"]["responses"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("30", 30.0), ("2.5", 2.5), ("3.88e-50", 3.88e-50), ("61", 61.0)]
)
def test_a_number_of_seconds_is_a_json_number(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1_0", "0x1", "\u0663"])
def test_anything_else_is_no_number_of_seconds(text: str) -> None:
    assert seconds_of(text) is None
