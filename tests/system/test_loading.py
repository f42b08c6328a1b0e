"""A model with a long `setup`, from its first login to its first task: registry, gateway and instance in one loop."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.errors import ModelNotStarted
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.client.errors import NameTaken
from hub.registry.service import run_registry
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store

TIMEOUT: Final = 30.0
PERIOD: Final = 0.5


class Slow(hub.Model[ModelARequest, ModelAResponse]):
    """Its `setup` ends when the test sets `finish`."""

    name: ClassVar[str] = "Slow"
    shares_loop: ClassVar[bool] = True  # it waits for events of the test
    begun: ClassVar[anyio.Event]
    finish: ClassVar[anyio.Event]
    torn_down: ClassVar[int] = 0

    @override
    async def setup(self) -> None:
        self.begun.set()
        await self.finish.wait()

    @override
    async def teardown(self) -> None:
        type(self).torn_down += 1

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class SlowPlain(hub.Model[ModelARequest, ModelAResponse]):
    """The same with a plain `def setup`, which runs in a thread."""

    name: ClassVar[str] = "Slow"
    release: ClassVar[threading.Event]

    @override
    def setup(self) -> None:
        assert self.release.wait(TIMEOUT)

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class Broken(Slow):
    """Its setup fails when the test says so."""

    name: ClassVar[str] = "Slow"

    @override
    async def setup(self) -> None:
        await super().setup()
        raise OSError("no weights")


class Impostor(hub.Model[DigitsRequest, DigitsResponse]):
    """Another contract under the same name, with a setup that must not begin."""

    name: ClassVar[str] = "Slow"

    @override
    async def setup(self) -> None:
        pytest.fail("a name that is taken is reported before the setup")

    @override
    async def process_request(self, request: DigitsRequest) -> DigitsResponse:
        return DigitsResponse()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Slow.begun, Slow.finish, Slow.torn_down, Broken.torn_down = anyio.Event(), anyio.Event(), 0, 0
    SlowPlain.release = threading.Event()


@dataclass
class Stage:
    http: AsyncClient
    broker: Broker
    store: ResultStore
    registry: str
    gateway: str

    def instance(self, model: type[hub.Model[Any, Any]]) -> partial[Any]:
        settings = ModelSettings(
            registry_url=self.registry,
            broker_url="memory://",
            store_url="memory://",
            ping_period=PERIOD,
            start_timeout=5.0,
            drain_grace=1.0,
        )
        return partial(run_instance, model, settings, broker=self.broker, store=self.store)

    async def listed(self) -> list[tuple[str, str]]:
        reply = await self.http.get(f"{self.registry}/v1/instances")
        return [(each["state"], each["reason"]) for each in reply.json()["instances"]]

    async def history(self) -> list[tuple[str | None, str | None]]:
        reply = await self.http.get(f"{self.registry}/v1/history")
        return [(each["before"], each["after"]) for each in reversed(reply.json()["events"])]

    async def call(self) -> tuple[int, str]:
        reply = await self.http.post(f"{self.gateway}/v1/models/Slow", json={"messages": "x"})
        if reply.status_code == 503:
            assert int(reply.headers["retry-after"]) > 0
        return reply.status_code, reply.json().get("code", "")

    async def until_called(self, expected: tuple[int, str]) -> None:
        while await self.call() != expected:
            await checkpoint()

    async def pinged(self, times: int) -> None:
        """Waits for so many answers of the only instance: more than it may miss."""
        seen = set[float | None]()
        while len(seen) <= times:
            (instance,) = (await self.http.get(f"{self.registry}/v1/instances")).json()["instances"]
            seen.add(instance["answered_at"])

    async def metric(self, line: str) -> None:
        while line not in (await self.http.get(f"{self.registry}/metrics")).text:
            await checkpoint()


@asynccontextmanager
async def stage(directory_url: str = "memory://") -> AsyncGenerator[Stage]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker("memory://"))
        store = await stack.enter_async_context(open_store("memory://"))
        directory = await stack.enter_async_context(open_directory(directory_url))
        http = await stack.enter_async_context(open_client())
        registry = await stack.enter_async_context(
            background_service(
                partial(
                    run_registry,
                    RegistrySettings(registry_port=0, ping_period=PERIOD, ping_timeout=0.9 * PERIOD),
                    directory=directory,
                    broker=broker,
                ),
                name="registry",
            )
        )
        gateway = await stack.enter_async_context(
            background_service(
                partial(
                    run_gateway,
                    GatewaySettings(registry_url=registry, gateway_port=0),
                    broker=broker,
                    store=store,
                ),
                name="gateway",
            )
        )
        yield Stage(http, broker, store, registry, gateway)


async def test_a_model_in_setup_is_loading_everywhere_and_then_live() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it, create_task_group() as tg:
            assert await it.call() == (404, "unknown_model")
            started = anyio.Event()

            async def start() -> None:
                async with background_service(it.instance(Slow), name="instance"):
                    started.set()
                    await anyio.sleep_forever()

            tg.start_soon(start)
            await Slow.begun.wait()
            await it.until_called((503, "model_loading"))
            reply = await it.http.post(f"{it.gateway}/v1/models/Slow/tasks", json={"messages": "x"})
            assert (reply.status_code, reply.json()["loading"]) == (503, 1)
            assert await it.listed() == [("loading", "its setup is background_service")]
            await it.metric('hub_model_instances{model="Slow",state="loading"} 1.0')
            models = (await it.http.get(f"{it.registry}/v1/models?known=true")).json()["models"]
            assert [(model["name"], model["active"]) for model in models] == [("Slow", False)]
            assert (await it.http.get(f"{it.registry}/v1/models")).json()["models"] == []
            (overview,) = (await it.http.get(f"{it.gateway}/v1/overview")).json()["models"]
            assert (overview["active"], overview["states"]["loading"]) == (False, 1)
            (instance,) = (await it.http.get(f"{it.registry}/v1/instances")).json()["instances"]
            ready = await it.http.get(f"{instance['url']}/health/ready")
            assert (ready.status_code, ready.json()["reason"]) == (503, "its setup is background_service")
            assert (await it.http.get(f"{instance['url']}/health/live")).status_code == 200
            await it.pinged(4)
            assert await it.listed() == [("loading", "its setup is background_service")]
            assert not started.is_set()
            Slow.finish.set()
            await started.wait()
            assert await it.listed() == [("live", "")]
            await it.until_called((200, ""))
            await it.metric('hub_model_instances{model="Slow",state="loading"} 0.0')
            assert await it.history() == [(None, "loading"), ("loading", "loading"), ("loading", "live")]
            tg.cancel_scope.cancel()


async def test_pings_are_answered_while_a_plain_setup_runs_in_its_thread() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it, create_task_group() as tg:
            tg.start_soon(it.instance(SlowPlain))
            await it.until_called((503, "model_loading"))
            await it.pinged(4)
            assert await it.listed() == [("loading", "its setup is background_service")]
            SlowPlain.release.set()
            await it.until_called((200, ""))
            tg.cancel_scope.cancel()


async def test_a_live_instance_serves_while_another_one_loads() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it, create_task_group() as tg:
            Slow.finish.set()
            async with background_service(it.instance(Slow), name="first"):
                await it.until_called((200, ""))
                Slow.begun, Slow.finish = anyio.Event(), anyio.Event()
                tg.start_soon(it.instance(Slow))
                await Slow.begun.wait()
                assert sorted(state for state, _ in await it.listed()) == ["live", "loading"]
                assert await it.call() == (200, "")
                tg.cancel_scope.cancel()


async def test_an_instance_whose_setup_fails_is_removed() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it:

            async def fail() -> None:
                await it.until_called((503, "model_loading"))
                Slow.finish.set()

            async def start_and_fail() -> None:
                async with create_task_group() as tg:
                    tg.start_soon(it.instance(Broken))
                    tg.start_soon(fail)

            with pytest.raises(ModelNotStarted, match="no weights"), collapse_exception_group():
                await start_and_fail()
            assert await it.listed() == []
            await it.until_called((503, "model_unavailable"))
            assert Broken.torn_down == 1


async def test_an_instance_that_is_stopped_during_its_setup_logs_out() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it:
            async with create_task_group() as tg:
                tg.start_soon(it.instance(Slow))
                await Slow.begun.wait()
                tg.cancel_scope.cancel()
            assert await it.listed() == []
            assert (await it.history())[-1] == ("loading", None)
            assert Slow.torn_down == 1


async def test_a_taken_name_is_reported_before_the_setup() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it, create_task_group() as tg:
            tg.start_soon(it.instance(Slow))
            await it.until_called((503, "model_loading"))
            with pytest.raises(NameTaken, match="loading instance"):
                await it.instance(Impostor)()
            tg.cancel_scope.cancel()


async def test_a_registry_that_lost_a_loading_instance_lists_it_again() -> None:
    with fail_after(TIMEOUT):
        async with stage() as it, create_task_group() as tg:
            tg.start_soon(it.instance(Slow))
            await it.until_called((503, "model_loading"))
            (instance,) = (await it.http.get(f"{it.registry}/v1/instances")).json()["instances"]
            await it.http.delete(f"{it.registry}/v1/instances/{instance['id']}")
            while await it.listed() != [("loading", "its setup is background_service")]:
                await checkpoint()
            Slow.finish.set()
            await it.until_called((200, ""))
            tg.cancel_scope.cancel()
