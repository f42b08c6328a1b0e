"""Everything that runs: RabbitMQ behind a proxy, Redis, a registry, two gateways and the instances."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, final

from anyio import create_task_group, fail_after
from anyio.to_thread import run_sync

from hub.http.client import open_client
from hub.testing.proxy import FaultProxy
from hub.types import dead_letter_queue
from tests.chaos.fleet import Fleet
from tests.chaos.journal import FOLDER_VARIABLE
from tests.chaos.plan import Plan
from tests.chaos.program import Program, launch
from tests.chaos.remains import Remains
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.server import free_port

Backend = Literal["asyncio", "trio"]

MODEL: Final = "Chaos"

ANSWER: Final = 10.0
"""Seconds for the registry's answer, when nothing is broken any more."""


@final
class Service:
    """A program that is killed and started again, always at the same port."""

    def __init__(self, name: str, arguments: list[str], settings: dict[str, str], port: int, folder: Path) -> None:
        self.name: Final = name
        self.url: Final = f"http://127.0.0.1:{port}"
        self.accidents: list[str] = []
        self._launch = partial(launch, arguments=arguments, settings=settings, folder=folder)
        self._starts = itertools.count(1)
        self._program: Program | None = None

    async def start(self) -> None:
        """Returns once it is up; does nothing when it runs."""
        if self._program is not None:
            return
        self._program = self._launch(f"{self.name}-{next(self._starts)}")
        await self._program.until_ready()

    def kill(self) -> None:
        """kill -9. If it had ended by itself before, that is noted."""
        if self._program is not None:
            code = self._program.exit_code
            if code is not None:
                self.accidents.append(f"{self.name} ended by itself with {code}:\n{self._program.last_words()}")
            self._program.kill()
            self._program = None

    async def stop(self) -> None:
        """SIGTERM; an end that is not orderly is noted."""
        assert self._program is not None
        self._program.terminate()
        if await self._program.until_ended() != 0:
            self.accidents.append(
                f"{self.name} ended with {self._program.exit_code} when it was told to stop:\n"
                f"{self._program.last_words()}"
            )
        self._program.kill()
        self._program = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What can be broken. `rabbitmq` is reached by hub through `proxy` alone."""

    rabbitmq: RabbitMQ
    proxy: FaultProxy
    redis: Redis
    registry: Service
    gateways: tuple[Service, Service]
    fleet: Fleet
    journal: Path

    @property
    def accidents(self) -> list[str]:
        """Which processes ended although nobody wanted it to, or not as they should."""
        return [*self.fleet.accidents, *(told for each in (self.registry, *self.gateways) for told in each.accidents)]

    async def heal(self) -> None:
        """Everything that a run was stopped in the middle of breaking is whole again."""
        self.proxy.restore()
        for server in (self.rabbitmq, self.redis):
            if server.is_alive():
                server.thaw()
            await run_sync(server.start)
        for service in (self.registry, *self.gateways):
            await service.start()

    async def remains(self) -> Remains:
        """What is left in the queues, and who lives by the registry's account."""
        columns = ("name", "messages_ready", "messages_unacknowledged")
        rows = [row.split("\t") for row in (await run_sync(self.rabbitmq.ctl, "list_queues", *columns)).splitlines()]
        depths = {row[0]: (int(row[1]), int(row[2])) for row in rows if row[0].startswith(MODEL)}
        async with open_client() as http:
            with fail_after(ANSWER):
                model = (await http.get(f"{self.registry.url}/v1/models/{MODEL}")).json()
        ready, unacked = depths[MODEL]
        return Remains(
            ready=ready,
            unacked=unacked,
            dead_letters=sum(depths[dead_letter_queue(MODEL)]),
            members=self.fleet.members,
            live=sum(instance["state"] == "live" for instance in model["instances"]),
        )

    async def stop(self) -> None:
        """Everything of hub ends in an orderly way, or that is noted."""
        await self.fleet.stop()
        for service in (*self.gateways, self.registry):
            await service.stop()


@asynccontextmanager
async def opened(plan: Plan, backend: Backend, folder: Path) -> AsyncGenerator[Stage]:
    """Starts everything in `folder`, and kills it with the block. Errors of the block arrive in an `ExceptionGroup`."""
    with ExitStack() as stack:
        rabbitmq = RabbitMQ(_made(folder / "rabbitmq"))
        stack.callback(rabbitmq.close)
        redis = Redis(_made(folder / "redis"), appendonly=True)
        stack.callback(redis.close)
        async with FaultProxy("127.0.0.1", rabbitmq.port) as proxy:
            logs = _made(folder / "logs")
            common = {
                "backend": backend,
                "broker_url": f"amqp://guest:guest@127.0.0.1:{proxy.port}/",
                "heartbeat": f"{plan.heartbeat}",
                "ping_period": f"{plan.ping_period}",
            }
            port = free_port()
            settings = common | {
                "directory_url": f"{redis.url}/0",
                "registry_port": f"{port}",
                "ping_timeout": f"{plan.ping_period * 0.6}",
            }
            registry = Service("registry", ["hub.registry"], settings, port, logs)
            stack.callback(registry.kill)
            common |= {"registry_url": registry.url, "store_url": f"{redis.url}/1"}
            gateways: list[Service] = []
            for name in ("gateway-a", "gateway-b"):
                port = free_port()
                gateway = Service(
                    name, ["hub.gateway"], common | {"gateway_port": f"{port}", "dashboard_port": "0"}, port, logs
                )
                stack.callback(gateway.kill)
                gateways.append(gateway)
            journal = _made(folder / "journal")
            start = partial(
                launch,
                arguments=["hub.model", f"tests.chaos.model:{MODEL}"],
                settings=common | {FOLDER_VARIABLE: str(journal)},
                folder=logs,
            )
            fleet = Fleet(plan.instances, start, random.Random(plan.seed))
            stack.callback(fleet.close)
            async with create_task_group() as tg:
                tg.start_soon(run_sync, rabbitmq.start)  # takes longest, and hub's processes wait for it
                await run_sync(redis.start)
                await registry.start()
                for gateway in gateways:
                    tg.start_soon(gateway.start)
            yield Stage(
                rabbitmq=rabbitmq,
                proxy=proxy,
                redis=redis,
                registry=registry,
                gateways=(gateways[0], gateways[1]),
                fleet=fleet,
                journal=journal,
            )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
