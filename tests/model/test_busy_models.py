"""A model that computes in its `async def` holds up its own event loop, and nothing of the instance."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import anyio
import pytest
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.http.client import open_client
from hub.model.execution import own_loop
from hub.model.instance.instance import run_instance
from hub.model.model import Model
from hub.settings.model import ModelSettings
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome
from hub.types import TaskState
from tests.model.fake_registry import FakeRegistry, fake_registry
from tests.model.fakes import TIMEOUT, ended, reply_of, submit
from tests.model.test_instance import new_task

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Computes(Model[ModelARequest, ModelAResponse]):
    """Computes until it is released; `began` and `release` are the test's, and of the class since hub makes the object."""

    name = "Echo"
    began = threading.Event()
    release = threading.Event()

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        self.began.set()
        if request.messages == "compute":
            self.release.wait(TIMEOUT)
        hub.current_task().report(0.5)
        return ModelAResponse(reply=request.messages)


class ComputesWithHealth(Computes):
    name = "Echo"

    @override
    async def health(self) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.fixture(autouse=True)
def fresh_events() -> None:
    Computes.began = threading.Event()
    Computes.release = threading.Event()


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with fake_registry() as it:
        yield it


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    async with open_client() as it:
        yield it


@pytest.fixture
async def servers() -> AsyncIterator[tuple[MemoryBroker, MemoryStore]]:
    async with MemoryBroker() as broker, MemoryStore(StoreOptions()) as store:
        yield broker, store


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.sleep(0.001)


def instance(
    model: type[Computes], registry: FakeRegistry, servers: tuple[MemoryBroker, MemoryStore]
) -> Callable[..., Awaitable[None]]:
    settings = ModelSettings(registry_url=registry.url, start_timeout=10.0, drain_grace=0.1)
    return partial(run_instance, model, settings, broker=servers[0], store=servers[1])


@pytest.mark.parametrize("model", [Computes, ComputesWithHealth])
async def test_pings_are_answered_while_the_model_computes(
    model: type[Computes], registry: FakeRegistry, http: AsyncClient, servers: tuple[MemoryBroker, MemoryStore]
) -> None:
    one = new_task("compute")
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(model, registry, servers), name="instance") as url:
            await submit(*servers, one)
            await until(model.began.is_set)
            for _ in range(2):
                ping = await http.get(f"{url}/ping")
                assert (ping.status_code, ping.json()["in_flight"], ping.json()["reason"]) == (200, 1, "")
            model.release.set()
            assert await reply_of(servers[1], one) == "compute"


async def test_an_instance_says_for_how_long_its_model_has_held_its_loop_up(
    registry: FakeRegistry,
    http: AsyncClient,
    servers: tuple[MemoryBroker, MemoryStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_loop, "LIMIT", 0.05)
    one = new_task("compute")
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Computes, registry, servers), name="instance") as url:

            async def busy_seconds() -> float:
                seconds: float = (await http.get(f"{url}/ping")).json()["stats"]["busy_seconds"]
                return seconds

            assert await busy_seconds() == 0
            await submit(*servers, one)
            await until(Computes.began.is_set)
            while not (earlier := await busy_seconds()):
                await anyio.sleep(0.001)
            while await busy_seconds() <= earlier:
                await anyio.sleep(0.001)
            metrics = (await http.get(f"{url}/metrics")).text
            assert 'hub_instance_busy_seconds{model="Echo"} 0.0\n' not in metrics
            assert 'hub_instance_busy_seconds{model="Echo"}' in metrics
            Computes.release.set()
            assert await reply_of(servers[1], one) == "compute"
            while await busy_seconds():
                await anyio.sleep(0.001)


async def test_a_task_that_computes_is_cancelled_at_once_and_keeps_its_place_until_it_returns(
    registry: FakeRegistry,
    http: AsyncClient,
    servers: tuple[MemoryBroker, MemoryStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_loop, "CANCEL_GRACE", 0.01)
    broker, store = servers
    one, two = new_task("compute"), new_task("next")
    failure = Failure(code="cancelled", message="a client cancelled it")
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Computes, registry, servers), name="instance") as url:
            await submit(broker, store, one)
            await until(Computes.began.is_set)
            await store.finish([Outcome(task_id=one.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0)])
            await submit(broker, store, two)
            while 'hub_task_stopped_total{model="Echo"} 1.0' not in (await http.get(f"{url}/metrics")).text:
                await anyio.sleep(0.001)
            assert (await http.get(f"{url}/ping")).json()["in_flight"] == 1
            Computes.release.set()
            assert await reply_of(store, two) == "next"
    assert (await ended(store, one)).state is TaskState.CANCELLED


async def test_a_task_knows_its_task_and_reports_from_the_loop_of_its_model(
    registry: FakeRegistry, servers: tuple[MemoryBroker, MemoryStore]
) -> None:
    one = new_task("hello")
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Computes, registry, servers), name="instance"):
            await submit(*servers, one)
            assert await reply_of(servers[1], one) == "hello"
