"""The contracts of live models, as generators of code read them."""

from __future__ import annotations

from base64 import b64decode

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hub.contract.descriptors.pool import build_pool
from hub.ports.directory import ModelLimits
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, open_gateway

COMMENTS = (("examples.model_a.v1.ModelARequest", "What it takes."),)


async def test_a_contract_has_the_messages_with_comments_and_limits(gateway: LocalGateway) -> None:
    gateway.watch.add(MODEL_A, CONTRACT_A, comments=COMMENTS)
    await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1, limits=ModelLimits(concurrency=3, max_timeout=60.0))
    digits = (await gateway.client.get("/v1/models/Digits/contract")).json()
    found = (await gateway.client.get("/v1/models/ModelA/contract")).json()
    pool = build_pool(FileDescriptorSet.FromString(b64decode(found.pop("descriptors"))))
    assert "messages" in pool.FindMessageTypeByName(found["request"]).fields_by_name
    assert found == {
        "model": "ModelA",
        "fingerprint": CONTRACT_A.fingerprint,
        "request": "examples.model_a.v1.ModelARequest",
        "response": "examples.model_a.v1.ModelAResponse",
        "streaming": False,
        "limits": {"concurrency": 1, "default_timeout": None, "max_timeout": None, "max_batch_size": 1},
        "comments": dict(COMMENTS),
    }
    assert digits["limits"] == {"concurrency": 3, "default_timeout": None, "max_timeout": 60.0, "max_batch_size": 1}


async def test_a_contract_is_sent_again_only_if_something_about_it_has_changed(gateway: LocalGateway) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    etag = (await gateway.client.get("/v1/models/ModelA/contract")).headers["etag"]
    headers = {"If-None-Match": etag}
    assert (await gateway.client.get("/v1/models/ModelA/contract", headers=headers)).status_code == 304
    gateway.watch.add(MODEL_A, CONTRACT_A, comments=COMMENTS)
    await gateway.parts.catalog.changed()
    assert (await gateway.client.get("/v1/models/ModelA/contract", headers=headers)).status_code == 200


@pytest.mark.parametrize(("live", "status", "code"), [(0, 503, "model_unavailable"), (1, 404, "unknown_model")])
async def test_a_model_that_is_not_alive_has_no_contract_here(
    gateway: LocalGateway, live: int, status: int, code: str
) -> None:
    await gateway.list_model(MODEL_A, CONTRACT_A, live=live)
    reply = await gateway.client.get(f"/v1/models/{'Other' if live else 'ModelA'}/contract")
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_a_contract_needs_a_key_where_calls_do() -> None:
    async with open_gateway(api_keys="secret") as gateway:
        await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
        assert (await gateway.client.get("/v1/models/ModelA/contract")).status_code == 401
        headers = {"X-API-Key": "secret"}
        assert (await gateway.client.get("/v1/models/ModelA/contract", headers=headers)).status_code == 200
