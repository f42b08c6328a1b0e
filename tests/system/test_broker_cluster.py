"""A cluster of three RabbitMQ nodes; the node to which all components are connected is killed under load.

Registry, gateway and instances run in the test itself, with their real HTTP routes, so that the test chooses the node
of each connection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

import pytest
import structlog
from anyio import create_task_group, fail_after, sleep
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.brokers.aiormq.broker import AiormqBroker
from hub.brokers.rabbitmq.broker import AmqpBroker
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.errors import ConfigurationError
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.registry.service import run_registry
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store
from tests.support.markers import starts
from tests.support.rabbitmq import RabbitMQ, rabbitmq_cluster
from tests.support.redis import emptied

TIMEOUT: Final = 90.0
"""Seconds for a whole scenario on a busy machine."""

CLIENTS: Final = 8
BEFORE: Final = 100
AFTER: Final = 300
"""Tasks that are accepted before the loss and after it."""

pytestmark = pytest.mark.kills_servers


class Counted(hub.Model[ModelARequest, ModelAResponse]):
    """Counts the completed runs of each task."""

    name: ClassVar[str] = "Counted"
    concurrency: ClassVar[int] = 8
    runs: ClassVar[Counter[str]] = Counter()

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        await sleep(0.01)
        self.runs[request.messages] += 1
        return ModelAResponse(reply=request.messages)


@dataclass
class Load:
    """Clients that submit one task after the other."""

    http: AsyncClient
    gateway: str
    accepted: list[str] = field(default_factory=list[str])
    refusals: Counter[str] = field(default_factory=Counter[str])

    async def submit_until(self, count: int) -> None:
        async with create_task_group() as tg:
            for _ in range(CLIENTS):
                tg.start_soon(self._client, len(self.accepted) + count)

    async def _client(self, enough: int) -> None:
        while len(self.accepted) < enough:
            reply = await self.http.post(
                f"{self.gateway}/v1/models/Counted/tasks", json={"messages": f"{len(self.accepted)}"}
            )
            if reply.status_code == 202:
                self.accepted.append(reply.json()["id"])
            else:
                assert reply.status_code in (503, 429), reply.text  # 429: basic.nack while the queue has no leader
                assert reply.headers["retry-after"]
                self.refusals[reply.json()["code"]] += 1
                await sleep(0.05)

    async def outcomes(self) -> Counter[str]:
        states = Counter[str]()
        for task in self.accepted:
            reply = await self.http.get(f"{self.gateway}/v1/tasks/{task}?wait=60")
            assert reply.status_code == 200, reply.text
            states[reply.json()["state"]] += 1
        return states


@pytest.fixture(scope="module")
@starts("rabbitmq", "kills_servers")
def _nodes() -> Iterator[Sequence[RabbitMQ]]:
    with rabbitmq_cluster() as nodes:
        yield nodes


@pytest.fixture
def cluster(_nodes: Sequence[RabbitMQ]) -> Sequence[RabbitMQ]:
    """Three running nodes."""
    for node in _nodes:
        node.start()
    _nodes[0].ctl("await_online_nodes", f"{len(_nodes)}")
    return _nodes


def url_of(nodes: Sequence[RabbitMQ], scheme: str = "amqp") -> str:
    return f"{scheme}://guest:guest@{','.join(name_of(node) for node in nodes)}/"


def name_of(node: RabbitMQ) -> str:
    return f"127.0.0.1:{node.port}"


def broker_at(url: str, node: RabbitMQ) -> AmqpBroker | AiormqBroker:
    """A broker that has chosen this node; opened until one has."""
    while True:
        broker = open_broker(url)
        assert isinstance(broker, AmqpBroker | AiormqBroker)
        if broker._nodes.preferred == name_of(node):  # pyright: ignore[reportPrivateUsage]
            return broker


@asynccontextmanager
async def system(
    url: str, redis: str, *, victim: RabbitMQ, other: RabbitMQ
) -> AsyncGenerator[tuple[Load, list[Broker]]]:
    """A registry, a gateway and an instance on one node, and another instance on another one."""
    common: dict[str, Any] = {"broker_url": url}
    async with AsyncExitStack() as stack:
        brokers: list[Broker] = [
            await stack.enter_async_context(broker_at(url, node)) for node in (victim, victim, victim, other)
        ]
        store = await stack.enter_async_context(open_store(redis))
        directory = await stack.enter_async_context(open_directory("memory://"))
        http = await stack.enter_async_context(open_client())
        registry = await stack.enter_async_context(
            background_service(
                partial(
                    run_registry,
                    RegistrySettings(registry_port=0, ping_period=1.0, ping_timeout=0.9, **common),
                    directory=directory,
                    broker=brokers[0],
                ),
                name="registry",
            )
        )
        gateway = await stack.enter_async_context(
            background_service(
                partial(
                    run_gateway,
                    GatewaySettings(registry_url=registry, gateway_port=0, store_url=redis, **common),
                    broker=brokers[1],
                    store=store,
                ),
                name="gateway",
            )
        )
        settings = ModelSettings(registry_url=registry, store_url=redis, ping_period=1.0, **common)
        for broker in brokers[2:]:
            instance = partial(run_instance, Counted, settings, broker=broker, store=store)
            await stack.enter_async_context(background_service(instance, name="instance"))
        while "Counted" not in (await http.get(f"{gateway}/v1/models")).text:
            await checkpoint()
        yield Load(http, gateway), brokers


@pytest.fixture(params=["amqp", "amqp+aiormq"])
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


async def test_the_loss_of_the_node_in_use_costs_seconds_and_no_task(
    cluster: Sequence[RabbitMQ], redis_url: str, scheme: str, anyio_backend_name: str
) -> None:
    url = url_of(cluster, scheme)
    if scheme == "amqp+aiormq" and anyio_backend_name == "trio":
        with pytest.raises(ConfigurationError, match="asyncio only"):
            async with open_broker(url):
                pytest.fail("entered")
        return
    victim, other, _ = cluster
    Counted.runs.clear()
    with fail_after(TIMEOUT), structlog.testing.capture_logs() as log, collapse_exception_group():
        async with system(url, emptied(redis_url, 8), victim=victim, other=other) as (load, brokers):
            await load.submit_until(BEFORE)
            assert [set(broker.statistics().nodes) for broker in brokers] == [{name_of(victim)}] * 3 + [
                {name_of(other)}
            ]
            metrics = (await load.http.get(f"{load.gateway}/metrics")).text
            assert f'hub_broker_connections{{node="{name_of(victim)}"}} 2.0' in metrics
            before = await run_sync(other.ctl, "list_queues", "name", "members", "--no-table-headers")
            for queue in ("Counted", "Counted.dead"):
                (line,) = (line for line in before.splitlines() if line.split("\t")[0] == queue)
                assert all(node.node in line for node in cluster), "a queue has a member on each node"
            async with create_task_group() as tg:
                tg.start_soon(load.submit_until, AFTER)
                while len(load.accepted) < BEFORE + 20:
                    await checkpoint()
                victim.kill()
            states = await load.outcomes()
            assert states == {"succeeded": len(load.accepted)}
            assert len(set(load.accepted)) == len(load.accepted) >= BEFORE + AFTER
            for broker in brokers:
                nodes = set(broker.statistics().nodes)
                assert nodes
                assert name_of(victim) not in nodes
            ready = await load.http.get(f"{load.gateway}/health/ready")
            assert ready.status_code == 200, ready.text
    moved = {line["before"] for line in log if "connected to a node" in line["event"] and line["before"]}
    assert name_of(victim) in moved, "the log says who went where"
    print(f"{scheme}, {anyio_backend_name}: {len(load.accepted)} accepted, refused {dict(load.refusals)}")  # noqa: T201
