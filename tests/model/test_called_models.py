"""What an instance asks the registry before its model calls another one."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import anyio
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import BrokerOptions, open_broker
from hub.cli.up import run_up
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.http.client import open_client
from hub.model.instance.called_models import RegistryModels
from hub.model.instance.instance import run_instance
from hub.registry.client.client import RegistryClient
from hub.registry.service import run_registry
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.settings.up import UpSettings
from hub.stores import StoreOptions, open_store
from hub.types import ModelName

TIMEOUT = 30.0
NAME = ModelName("Below")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Below(hub.Model[ModelARequest, ModelAResponse]):
    default_timeout: ClassVar[float | None] = 7.0

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=str(hub.current_task().deadline))


class Above(hub.Model[ModelARequest, ModelAResponse]):
    """Calls the model that the request names."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return await hub.current_task().call(request.messages, request, ModelAResponse)


async def until_refused(models: RegistryModels) -> None:
    while True:  # a positive answer is used for a second
        await models.limits(NAME)
        await anyio.sleep(0.05)


async def test_the_registry_knows_which_models_can_be_called() -> None:
    with anyio.fail_after(TIMEOUT):
        async with (
            open_directory("memory://") as directory,
            open_broker("memory://", BrokerOptions()) as broker,
            open_store("memory://", StoreOptions()) as store,
            open_client() as http,
        ):
            registry = partial(run_registry, RegistrySettings(registry_port=0), directory=directory, broker=broker)
            async with background_service(registry, name="registry") as url:
                models = RegistryModels(RegistryClient(url, http))
                with pytest.raises(hub.UnknownModel):
                    await models.limits(NAME)
                instance = partial(run_instance, Below, ModelSettings(registry_url=url), broker=broker, store=store)
                async with background_service(instance, name="instance"):
                    limits = await models.limits(NAME)  # not the answer of a moment ago
                    assert limits is not None
                    assert limits.default_timeout == Below.default_timeout
                with pytest.raises(hub.ModelUnavailable):
                    await until_refused(models)
            assert await models.limits(ModelName("Other")) is None  # out of reach: the call is made all the same


async def test_a_call_has_the_called_models_own_deadline_and_is_counted() -> None:
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0)
    with anyio.fail_after(TIMEOUT):
        async with (
            background_service(partial(run_up, [Above, Below], settings), name="up") as summary,
            open_client() as client,
        ):
            url = f"{summary.gateway_url}/v1/models/Above"
            known = (await client.post(f"{url}/tasks", params={"wait": "20"}, json={"messages": "Below"})).json()
            unknown = (await client.post(url, json={"messages": "Nowhere"})).json()
            instances = (await client.get(f"{summary.registry_url}/v1/instances")).json()["instances"]
            [above] = [each["url"] for each in instances if each["model"] == "Above"]
            metrics = (await client.get(f"{above}/metrics")).text
            known = (await client.get(f"{summary.gateway_url}/v1/tasks/{known['id']}", params={"wait": "20"})).json()
    assert unknown["failure"]["code"] == hub.UnknownModel.code
    assert "deadline" not in known
    assert float(known["result"]["reply"]) > 0
    assert 'hub_model_calls_total{called="Below",model="Above",result="succeeded"} 1.0' in metrics
    assert 'hub_model_calls_total{called="Nowhere",model="Above",result="refused"} 1.0' in metrics
