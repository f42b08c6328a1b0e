"""A deployment of a model whose messages have grown, instance by instance, in compatible mode. Everything is embedded."""

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
    """A model with this contract: it answers with its version, in all fields that it has, once `hold` is set."""
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
class World:
    """A registry and a gateway, and what instances need."""

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
async def world(mode: ContractMode = "compatible") -> AsyncGenerator[World]:
    settings = UpSettings(
        registry_port=0, gateway_port=0, dashboard_port=0, contract_mode=mode, drain_grace=0.0, log_level="warning"
    )
    async with MemoryBroker() as broker, open_store("memory://") as store, open_client() as http:
        registry = partial(run_registry, settings, directory=MemoryDirectory(), broker=broker)
        async with background_service(registry, name="registry") as registry_url:
            settings = replace(settings, registry_url=registry_url)
            gateway = partial(run_gateway, settings, broker=broker, store=store)
            async with background_service(gateway, name="gateway") as url:
                yield World(settings=settings, broker=broker, store=store, http=http, gateway=url)


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


async def test_the_gateway_switches_when_the_last_old_instance_has_gone_and_its_backlog_is_worked_off() -> None:
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


async def test_what_breaks_the_old_contract_is_turned_away_and_takes_nothing() -> None:
    with anyio.fail_after(TIMEOUT):
        async with world() as here, here.instance(PLAIN, "old"):
            await here.serves(PLAIN, 1)
            assert "FIELD_SAME_NAME" in str(await here.turned_away(BROKEN))
            assert await here.call(text="hi") == (200, {"text": "old hi"})


async def test_in_strict_mode_a_newcomer_gives_back_what_it_took_before_it_was_turned_away() -> None:
    hold = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with world("strict") as here, here.instance(PLAIN, "old", hold):
            await here.serves(PLAIN, 1)
            tasks = await here.submitted(5)
            await here.turned_away(GROWN)
            hold.set()
            assert await here.results(tasks) == [{"text": f"old {number}"} for number in range(5)]


async def test_a_deployment_that_is_taken_back_loses_no_task_that_was_written_for_the_new_contract() -> None:
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
