"""A rolling deployment of a model with new fields in its messages, in compatible mode, with all components in the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import pytest
from google.protobuf.message import Message
from httpx2 import AsyncClient

import hub
from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.contract import Contract, compile_contract
from hub.directories.memory import MemoryDirectory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.client.errors import NameTaken
from hub.registry.service import run_registry
from hub.settings.registry import ContractMode
from hub.settings.up import UpSettings
from hub.stores import open_store
from tests.registry.helpers import BROKEN, GROWN, PLAIN

TIMEOUT = 60.0

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


def model_of(contract: Contract, version: str, hold: anyio.Event | None = None) -> type[hub.Model[Any, Any]]:
    """A model with this contract: it returns its version in all fields, once `hold` is set."""
    loaded = compile_contract(contract)
    base: Any = hub.Model

    class Grower(base[loaded.request_class, loaded.response_class]):  # type: ignore[misc, name-defined]  # made at run time
        name = "Grower"
        shares_loop = True  # it waits for an event of the test

        async def process_request(self, request: Message) -> Message:
            if hold is not None:
                await hold.wait()
            response = loaded.response_class()
            for field in loaded.response.fields:
                setattr(response, field.name, f"{version} {getattr(request, field.name)}")
            return response

    return Grower


@dataclass(frozen=True, kw_only=True)
class System:
    """A registry and a gateway, with the servers for instances."""

    settings: UpSettings
    broker: Broker
    store: ResultStore
    http: AsyncClient
    gateway: str

    def instance(
        self, contract: Contract, version: str, hold: anyio.Event | None = None
    ) -> AbstractAsyncContextManager[str]:
        model = model_of(contract, version, hold)
        component = partial(run_instance, model, self.settings, broker=self.broker, store=self.store)
        return background_service(component, name=f"instance {version}")

    async def turned_away(self, contract: Contract) -> NameTaken:
        """Starts an instance that must not be let in."""
        with pytest.raises(NameTaken) as caught:
            await run_instance(model_of(contract, "new"), self.settings, broker=self.broker, store=self.store)
        return caught.value

    async def submitted(self, count: int, **request: str) -> list[str]:
        """Ids of tasks whose texts are their numbers."""
        replies = [
            await self.http.post(f"{self.gateway}/v1/models/Grower/tasks", json={"text": str(number), **request})
            for number in range(count)
        ]
        return [reply.json()["id"] for reply in replies]

    async def results(self, tasks: Sequence[str]) -> list[dict[str, Any]]:
        """What came of tasks, all of which must succeed."""
        found: list[dict[str, Any]] = []
        for task in tasks:
            await self.http.get(f"{self.gateway}/v1/tasks/{task}?wait=30")
            reply = await self.http.get(f"{self.gateway}/v1/tasks/{task}/result")
            assert reply.status_code == 200, reply.text
            found.append(reply.json())
        return found

    async def call(self, **request: str) -> tuple[int, dict[str, Any]]:
        reply = await self.http.post(f"{self.gateway}/v1/models/Grower", json=request)
        return reply.status_code, reply.json()

    async def serves(self, contract: Contract, instances: int) -> None:
        """Returns once the gateway takes requests of this contract, and knows of that many live instances."""
        while True:
            reply = await self.http.get(f"{self.gateway}/v1/models")
            models = {model["name"]: model for model in reply.json()["models"]}
            if "Grower" in models:
                found = models["Grower"]
                if (found["fingerprint"], found["instances"]) == (contract.fingerprint, instances):
                    return


@asynccontextmanager
async def world(mode: ContractMode = "compatible") -> AsyncGenerator[System]:
    settings = UpSettings(
        registry_port=0, gateway_port=0, dashboard_port=0, contract_mode=mode, drain_grace=0.0, log_level="warning"
    )
    async with MemoryBroker() as broker, open_store("memory://") as store, open_client() as http:
        registry = partial(run_registry, settings, directory=MemoryDirectory(), broker=broker)
        async with background_service(registry, name="registry") as registry_url:
            settings = replace(settings, registry_url=registry_url)
            gateway = partial(run_gateway, settings, broker=broker, store=store)
            async with background_service(gateway, name="gateway") as url:
                yield System(settings=settings, broker=broker, store=store, http=http, gateway=url)


async def test_old_and_new_instances_work_together_until_the_old_ones_are_gone() -> None:
    with anyio.fail_after(TIMEOUT):
        async with world() as here:
            async with here.instance(PLAIN, "old"):
                await here.serves(PLAIN, 1)
                async with here.instance(GROWN, "new"):
                    await here.serves(PLAIN, 2)
                    seen: set[str] = set()
                    while seen != {"old hi", "new hi"}:
                        status, answer = await here.call(text="hi")
                        assert status == 200
                        assert set(answer) == {"text"}, "a new instance's further field is left out"
                        seen.add(answer["text"])
                    status, problem = await here.call(text="hi", tone="loud")
                    assert (status, problem["code"]) == (422, "invalid_document"), "an old instance would drop it"
                await here.serves(PLAIN, 1)


async def test_the_gateway_switches_when_the_last_old_instance_has_ended_and_its_backlog_is_empty() -> None:
    hold = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with world() as here, anyio.create_task_group() as tg:
            up, stop = anyio.Event(), anyio.Event()

            async def old() -> None:
                async with here.instance(PLAIN, "old", hold):
                    up.set()
                    await stop.wait()

            tg.start_soon(old)
            await up.wait()
            await here.serves(PLAIN, 1)
            backlog = await here.submitted(5)
            stop.set()  # with all of them in its hands or on its queue
            async with here.instance(GROWN, "new"):
                await here.serves(GROWN, 1)
                assert await here.results(backlog) == [{"text": f"new {number}"} for number in range(5)]
                assert await here.call(text="hi", tone="loud") == (200, {"text": "new hi", "tone": "new loud"})


async def test_a_contract_that_breaks_the_old_one_is_refused_and_its_instance_takes_no_task() -> None:
    with anyio.fail_after(TIMEOUT):
        async with world() as here, here.instance(PLAIN, "old"):
            await here.serves(PLAIN, 1)
            assert "FIELD_SAME_NAME" in str(await here.turned_away(BROKEN))
            assert await here.call(text="hi") == (200, {"text": "old hi"})


async def test_in_strict_mode_a_refused_instance_releases_the_tasks_that_it_took() -> None:
    hold = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with world("strict") as here, here.instance(PLAIN, "old", hold):
            await here.serves(PLAIN, 1)
            tasks = await here.submitted(5)
            await here.turned_away(GROWN)
            hold.set()
            assert await here.results(tasks) == [{"text": f"old {number}"} for number in range(5)]


async def test_a_rollback_loses_no_task_of_the_new_contract() -> None:
    hold = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with world() as here:
            async with here.instance(PLAIN, "old"):
                await here.serves(PLAIN, 1)
            async with here.instance(GROWN, "new", hold):
                await here.serves(GROWN, 1)
                tasks = await here.submitted(4, tone="loud")
                async with here.instance(PLAIN, "old"):
                    await here.serves(PLAIN, 2)
                    hold.set()
                    assert await here.results(tasks) == [
                        {"text": f"new {number}", "tone": "new loud"} for number in range(4)
                    ]
                    status, answer = await here.call(text="hi")
                    assert (status, set(answer)) == (200, {"text"})
