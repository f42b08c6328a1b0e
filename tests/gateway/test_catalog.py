"""The catalog follows the registry, and keeps the last list while that is out of reach."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from hub.contract import Contract
from hub.gateway.models.catalog import ServedModel
from hub.gateway.models.codec import Codec
from hub.gateway.openapi.model import ModelDescription, model_paths
from hub.types import Fingerprint, ModelName
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway


async def names(gateway: LocalGateway) -> list[str]:
    return [model["name"] for model in (await gateway.client.get("/v1/models")).json()["models"]]


async def test_models_follow_the_list_of_the_registry(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=2)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    assert await names(gateway) == ["Digits", "ModelA"]
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=0)
    assert await names(gateway) == ["ModelA"]


async def test_a_model_shows_its_messages_its_instances_and_its_addresses(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=2)
    reply = await gateway.client.get("/v1/models/ModelA")
    assert reply.json() == {
        "name": "ModelA",
        "instances": 2,
        "fingerprint": CONTRACT_A.fingerprint,
        "request": "examples.model_a.v1.ModelARequest",
        "response": "examples.model_a.v1.ModelAResponse",
        "streaming": False,
        "call_url": "/v1/models/ModelA",
        "tasks_url": "/v1/models/ModelA/tasks",
        "batches_url": "/v1/models/ModelA/batches",
    }


async def test_a_registry_out_of_reach_leaves_the_last_list_and_a_gateway_that_is_not_ready(
    gateway: LocalGateway,
) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    assert (await gateway.client.get("/health/ready")).status_code == 200

    gateway.watch.connected = False

    assert await names(gateway) == ["ModelA"]
    ready = await gateway.client.get("/health/ready")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "registry" in ready.json()["reasons"][0]
    assert (await gateway.client.get("/health/live")).status_code == 200


async def test_a_list_of_models_can_be_watched(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    etag = (await gateway.client.get("/v1/models")).headers["etag"]
    seen: list[int] = []

    async def watch() -> None:
        reply = await gateway.client.get("/v1/models", headers={"If-None-Match": etag, "Prefer": "wait=30"})
        seen.append(reply.json()["models"][0]["instances"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        gateway.watch.send()  # nothing new: the request is held on
        await anyio.wait_all_tasks_blocked()
        assert (seen, gateway.parts.polls.waiting) == ([], 1)
        await gateway.list_model(MODEL_A, CONTRACT_A, live=3)
    assert seen == [3]


async def test_a_contract_that_cannot_be_compiled_affects_no_other_model(gateway: LocalGateway) -> None:
    broken = replace(CONTRACT_DIGITS, files=CONTRACT_A.files, fingerprint=Fingerprint("f" * 64))
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(ModelName("Broken"), broken, live=1)
    assert await names(gateway) == ["ModelA"]
    assert (await gateway.client.post("/v1/models/Broken", json={})).status_code == 503


async def test_a_contract_is_compiled_once_however_often_it_is_listed(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    first = gateway.parts.catalog.find("ModelA").codec
    await gateway.list_model(MODEL_A, CONTRACT_A, live=2)
    assert gateway.parts.catalog.find("ModelA").codec is first


@pytest.mark.parametrize("error", [RecursionError("too deep"), MemoryError(), KeyError("x"), TypeError("?")])
async def test_no_error_of_a_contract_affects_other_models(
    gateway: LocalGateway, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(CONTRACT_DIGITS, fingerprint=Fingerprint("e" * 64))
    compiled = Codec

    def codec(contract: Contract) -> Codec:
        if contract is broken:
            raise error
        return compiled(contract)

    monkeypatch.setattr("hub.gateway.models.codec.Codec", codec)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(ModelName("Broken"), broken, live=1)
    assert await names(gateway) == ["ModelA"]
    assert (await gateway.client.post("/v1/models/Broken", json={})).status_code == 503


async def test_models_that_have_not_changed_are_the_same_objects_after_a_change_of_another(
    gateway: LocalGateway,
) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    catalog = gateway.parts.catalog
    digits, before = catalog.get(DIGITS), catalog.served
    assert catalog.served is before
    await gateway.list_model(MODEL_A, CONTRACT_A, live=2)
    assert catalog.get(DIGITS) is digits
    assert [model.known.live for model in catalog.served] == [1, 2]


async def test_a_contract_that_cannot_be_described_leaves_the_description_of_the_others(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:

    def failing(model: ServedModel, suffix: str) -> ModelDescription:
        if model.name == DIGITS:
            raise RecursionError
        return model_paths(model, suffix)

    monkeypatch.setattr("hub.gateway.openapi.document.model_paths", failing)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
    reply = await gateway.client.get("/openapi.json")
    assert reply.status_code == 200
    assert "/v1/models/ModelA" in reply.json()["paths"]
    assert "/v1/models/Digits" not in reply.json()["paths"]
