"""The description of a streaming model, and whether its replies are what that says."""

from __future__ import annotations

from typing import Any, cast

import pytest
from jsonschema_rs import Draft202012Validator

from hub.task import Failure
from tests.gateway.fixtures import CONTRACT_A, MODEL_A, LocalGateway
from tests.gateway.streaming import CALL, CONTRACT, COUNTS, EVENTS, LINES, EventReader, submit, watching
from tests.gateway.test_description import document, references
from tests.gateway.wire import serving

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")
CHUNK = {"$ref": "#/components/schemas/examples.model_a.v1.ModelAResponse"}


@pytest.fixture
async def described(gateway: LocalGateway) -> dict[str, Any]:
    await gateway.model(COUNTS, CONTRACT)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    return await document(gateway)


def validator(described: dict[str, Any], schema: object) -> Draft202012Validator:
    rules = {**cast("dict[str, object]", schema), "components": described["components"]}
    return Draft202012Validator(rules, validate_formats=True)


async def test_a_streaming_model_is_described_with_the_schema_of_its_chunks(described: dict[str, Any]) -> None:
    operation = described["paths"][CALL]["post"]
    reply = operation["responses"]["200"]
    assert reply["content"] == {"application/json": {"schema": {"type": "array", "items": CHUNK}}}  # see decision 208
    streams = reply["x-hub-streams"]
    assert list(streams) == ["text/event-stream", "application/x-ndjson"]
    assert streams["text/event-stream"]["schema"]["contentSchema"] == CHUNK
    assert CHUNK in streams["application/x-ndjson"]["schema"]["contentSchema"]["allOf"][1]["properties"].values()
    assert "406" in operation["responses"]
    assert {"$ref": "#/components/parameters/LastChunk"} in operation["parameters"]
    for reference in references(described):
        target: Any = described
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]


async def test_a_model_with_one_message_is_described_as_before(described: dict[str, Any]) -> None:
    operation = described["paths"]["/v1/models/ModelA"]["post"]
    assert list(operation["responses"]["200"]["content"]) == ["application/json"]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == CHUNK
    assert "stream" not in operation["description"]


async def test_models_say_whether_they_stream(gateway: LocalGateway, described: dict[str, Any]) -> None:
    models = (await gateway.client.get("/v1/models")).json()
    assert {model["name"]: model["streaming"] for model in models["models"]} == {"Counts": True, "ModelA": False}
    validator(described, {"$ref": "#/components/schemas/ServedModels"}).validate(models)


async def test_streams_are_what_the_description_says(gateway: LocalGateway, described: dict[str, Any]) -> None:
    streams = described["paths"][CALL]["post"]["responses"]["200"]["x-hub-streams"]
    lines = validator(described, streams["application/x-ndjson"]["schema"]["contentSchema"])
    chunk = validator(described, streams["text/event-stream"]["schema"]["contentSchema"])
    task = validator(described, {"$ref": "#/components/schemas/Task"})
    restarted = validator(described, {"$ref": "#/components/schemas/Restarted"})
    names: list[str] = []
    async with serving(gateway) as url:
        run = await submit(gateway)
        await run.append("lost")
        async with watching(url, run.task.id, LINES) as opened:
            await opened.head()
            first = await opened.answer()
            await run.start()
            await run.append("one", "two")
            await run.finish(Failure(code="model_error", message="no more"))
            found = [first, *await opened.answers()]
        async with watching(url, run.task.id, {**EVENTS, "Last-Event-ID": "1-1"}) as opened:
            await opened.head()
            for event in await EventReader(opened).rest():
                {"chunk": chunk, "task": task, "restarted": restarted}[event.name].validate(event.data)
                names.append(event.name)
    for line in found:
        lines.validate(line)
    assert [list(line)[-1] for line in found] == ["chunk", "restarted", "chunk", "chunk", "task"]
    assert names == ["restarted", "chunk", "chunk", "task"]
    with pytest.raises(ValueError, match="not of type"):
        lines.validate({"id": "1-1", "chunk": {"reply": 5}})


async def test_the_array_is_what_the_description_says(gateway: LocalGateway, described: dict[str, Any]) -> None:
    content = described["paths"][CALL]["post"]["responses"]["200"]["content"]
    run = await submit(gateway)
    await run.append("one", "two")
    await run.finish()
    array = (await gateway.client.get(f"/v1/tasks/{run.task.id}/result")).json()
    validator(described, content["application/json"]["schema"]).validate(array)
    validator(described, {"$ref": "#/components/schemas/Chunks"}).validate(array)
    assert len(array) == 2
