"""What an orchestrator asks of an instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest
from httpx2 import AsyncClient
from typing_extensions import override

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.http.client import open_client
from hub.model.instance.health_reporter import HealthReporter
from hub.model.instance.instance import run_instance
from hub.registry.client.schemas import PING_HEADER
from hub.settings.model import ModelSettings
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from tests.model.fake_registry import FakeRegistry, fake_registry
from tests.model.fakes import TIMEOUT, Echo

TOKEN = "t" * 32

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Ill(Echo):
    name = "Echo"

    @override
    async def health(self) -> None:
        raise RuntimeError("no GPU")


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with fake_registry() as it:
        yield it


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as it:
        yield it


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore(StoreOptions()) as it:
        yield it


@pytest.fixture
async def stranger() -> AsyncIterator[AsyncClient]:
    """Holds no token."""
    async with open_client() as http:
        yield http


def instance(
    model: type[Echo], registry: FakeRegistry, broker: MemoryBroker, store: MemoryStore
) -> Callable[..., Coroutine[Any, Any, None]]:
    settings = ModelSettings(registry_url=registry.url, start_timeout=10.0, token=TOKEN)
    return partial(run_instance, model, settings, broker=broker, store=store)


async def test_an_instance_is_live_and_ready_to_those_without_a_token(
    registry: FakeRegistry, broker: MemoryBroker, store: MemoryStore, stranger: AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Echo, registry, broker, store), name="instance") as url:
            live = await stranger.get(f"{url}/health/live")
            ready = await stranger.get(f"{url}/health/ready")
            others = [
                (await stranger.get(f"{url}{path}")).status_code for path in ("/ping", "/metrics", "/descriptors")
            ]

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reason": ""})
    assert others == [401, 401, 401]


async def test_an_instance_that_consumes_nothing_is_live_and_not_ready(
    registry: FakeRegistry, broker: MemoryBroker, store: MemoryStore, stranger: AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Echo, registry, broker, store), name="instance") as url:
            with broker.outage():
                ready = await stranger.get(f"{url}/health/ready")
                while ready.status_code == 200:
                    ready = await stranger.get(f"{url}/health/ready")
                live = await stranger.get(f"{url}/health/live")
            again = await stranger.get(f"{url}/health/ready")
            while again.status_code != 200:
                again = await stranger.get(f"{url}/health/ready")

    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["reason"] == "it receives nothing from the queue"
    assert live.status_code == 200


async def test_what_a_model_says_of_its_health_is_not_told_to_strangers(
    registry: FakeRegistry, broker: MemoryBroker, store: MemoryStore, stranger: AsyncClient
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Ill, registry, broker, store), name="instance") as url:
            ready = await stranger.get(f"{url}/health/ready")

    assert ready.status_code == 503
    assert ready.json()["ready"] is False
    assert "health" in ready.json()["reason"]
    assert "GPU" not in ready.text


async def test_only_requests_with_the_header_of_the_registry_are_its_pings(
    registry: FakeRegistry,
    broker: MemoryBroker,
    store: MemoryStore,
    stranger: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinged: list[HealthReporter] = []

    def note(reporter: HealthReporter) -> None:
        pinged.append(reporter)

    monkeypatch.setattr(HealthReporter, "mark_pinged", note)
    with anyio.fail_after(TIMEOUT):
        async with background_service(instance(Echo, registry, broker, store), name="instance") as url:
            for path in ("live", "ready"):
                await stranger.get(f"{url}/health/{path}")
            known = {"Authorization": f"Bearer {TOKEN}", "User-Agent": "hub"}
            await stranger.get(f"{url}/ping", headers=known)
            assert not pinged
            await stranger.get(f"{url}/ping", headers=known | {PING_HEADER: "1"})
            assert pinged
