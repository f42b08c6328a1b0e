"""A guarded hub as separate processes, and a Prometheus that watches it with the committed configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from anyio import create_task_group, sleep
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from hub.http.client import open_client
from hub.testing.proxy import FaultProxy
from tests.chaos.program import Program, launch
from tests.chaos.system import Backend, Service
from tests.observability.config import adapted
from tests.observability.models import MOODS, Watched
from tests.observability.server import Prometheus
from tests.support.rabbitmq import delete_queues
from tests.support.server import free_port

TOKEN: Final = "the-token-of-this-test"
KEY: Final = "the-key-of-this-test"

POLL_INTERVAL: Final = 0.2
"""Seconds between two questions to a server that has no event to wait for."""

PING_PERIOD: Final = 1.0
MISSES: Final = 30
"""Pings that an instance may miss: a frozen one stays listed long enough for an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredSystem:
    """What runs.

    Attributes:
        to_broker: The proxy between the registry and RabbitMQ; used by nothing else.
        to_directory: The registry's way to Redis.
        to_store: The gateway's way to Redis.
        http: Shows the gateway its key.
        operator: Shows the registry the token.
    """

    folder: Path
    common: dict[str, str]
    prometheus: Prometheus
    registry: Service
    gateway: Service
    to_broker: FaultProxy
    to_directory: FaultProxy
    to_store: FaultProxy
    http: AsyncClient
    operator: AsyncClient
    instances: list[Program] = field(default_factory=list[Program])

    async def instance(self, model: str) -> Program:
        """Starts an instance of one of `tests.observability.models`, and returns once it is up."""
        program = self.begin(model)
        await program.until_ready()
        return program

    def begin(self, model: str) -> Program:
        """Starts an instance, and does not wait for it."""
        name = f"{model}-{len(self.instances)}"
        program = launch(name, ["hub.model", f"tests.observability.models:{model}"], self.common, self.folder)
        self.instances.append(program)
        return program

    def mood(self, model: str, mood: str, *, on: bool) -> None:
        """See `tests.observability.models`."""
        switch = self.folder / f"{model}.{mood}"
        if on:
            switch.touch()
        else:
            switch.unlink(missing_ok=True)

    async def call(self, model: str, text: str) -> int:
        """The status of a synchronous call."""
        reply = await self.http.post(f"{self.gateway.url}/v1/models/{model}", json={"messages": text})
        return reply.status_code

    async def pile_up(self, model: str, count: int) -> None:
        """Submits so many tasks at once, and waits for none of them; they may be refused."""
        await self.http.post(
            f"{self.gateway.url}/v1/models/{model}/batches",
            content=b'{"messages": "many"}\n' * count,
            headers={"Content-Type": "application/x-ndjson"},
        )

    async def until_offered(self, *models: str) -> None:
        """Waits until the gateway takes tasks for all of them."""
        while True:
            reply = await self.http.get(f"{self.gateway.url}/v1/models")
            assert reply.status_code == 200, reply.text
            if set(models) <= {model["name"] for model in reply.json()["models"] if model["instances"]}:
                return
            await sleep(POLL_INTERVAL)

    async def targets_up(self, instances: int) -> None:
        """Waits until Prometheus has scraped registry, gateway and exactly so many instances."""
        while True:
            by_job = await self.prometheus.targets()
            up = {job: [target["health"] for target in targets] for job, targets in by_job.items()}
            if up == {"hub-registry": ["up"], "hub-gateway": ["up"], "hub-instances": ["up"] * instances}:
                return
            await sleep(POLL_INTERVAL)


@asynccontextmanager
async def opened(
    folder: Path, backend: Backend, *, amqp_url: str, redis_url: str, rules_text: str | None = None
) -> AsyncGenerator[MonitoredSystem]:
    """Starts registry, gateway and Prometheus in `folder`, and kills everything with the block.

    Errors of the block arrive in an `ExceptionGroup`.

    Args:
        folder: For logs and data; exists.
        backend: What hub runs on.
        amqp_url: A RabbitMQ.
        redis_url: A Redis with a database to itself.
        rules_text: The alert rules; without them the committed ones.
    """
    broker, redis = urlsplit(amqp_url), urlsplit(redis_url)
    models: list[type[Watched]] = [Watched, *Watched.__subclasses__()]
    await run_sync(delete_queues, amqp_url, *(model.name for model in models))
    with ExitStack() as stack:
        async with (
            FaultProxy(broker.hostname or "127.0.0.1", broker.port or 5672) as to_broker,
            FaultProxy(redis.hostname or "127.0.0.1", redis.port or 6379) as to_directory,
            FaultProxy(redis.hostname or "127.0.0.1", redis.port or 6379) as to_store,
            open_client(token=KEY) as http,
            open_client(token=TOKEN) as operator,
        ):
            port = free_port()
            common = {"backend": backend, "token": TOKEN, "ping_period": f"{PING_PERIOD}", MOODS: str(folder)}
            credentials = f"{broker.username}:{broker.password}"
            settings = common | {
                "broker_url": f"amqp://{credentials}@127.0.0.1:{to_broker.port}{broker.path}",
                "directory_url": f"redis://127.0.0.1:{to_directory.port}{redis.path}",
                "registry_port": f"{port}",
                "ping_timeout": f"{PING_PERIOD * 0.9}",
                "ping_misses": f"{MISSES}",
                "depth_period": "0.5",
            }
            registry = Service("registry", ["hub.registry"], settings, port, folder)
            stack.callback(registry.kill)
            common |= {"registry_url": registry.url, "broker_url": amqp_url, "store_url": redis_url}
            port = free_port()
            settings = common | {
                "store_url": f"redis://127.0.0.1:{to_store.port}{redis.path}",
                "gateway_port": f"{port}",
                "api_keys": KEY,
            }
            gateway = Service("gateway", ["hub.gateway"], settings, port, folder)
            stack.callback(gateway.kill)
            config = adapted(
                folder,
                registry=urlsplit(registry.url).netloc,
                gateway=urlsplit(gateway.url).netloc,
                token=TOKEN,
                rules_text=rules_text,
            )
            prometheus = Prometheus(config, http)
            stack.callback(prometheus.close)
            async with create_task_group() as tg:
                tg.start_soon(registry.start)
                tg.start_soon(gateway.start)
                tg.start_soon(run_sync, prometheus.start)
            it = MonitoredSystem(
                folder=folder,
                common=common,
                prometheus=prometheus,
                registry=registry,
                gateway=gateway,
                to_broker=to_broker,
                to_directory=to_directory,
                to_store=to_store,
                http=http,
                operator=operator,
            )
            try:
                yield it
            finally:
                for program in it.instances:
                    program.kill()
