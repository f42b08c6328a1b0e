"""The system under test: RabbitMQ behind a proxy, Redis, a registry, two gateways and the instances."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, final

from anyio import create_task_group, fail_after
from anyio.to_thread import run_sync

import hub
from hub.http.client import open_client
from hub.testing.proxy import FaultProxy
from hub.types import dead_letter_queue
from tests.chaos.fleet import Fleet
from tests.chaos.history import FinalState
from tests.chaos.journal import FOLDER_VARIABLE
from tests.chaos.plan import MODEL, Plan
from tests.chaos.program import Program, launch
from tests.chaos.stream import Stream
from tests.chaos.tree import TREE
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.server import free_port

Backend = Literal["asyncio", "trio"]

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for the registry's answer after the last fault."""


OTHER_MODELS: Final[tuple[type[hub.Model[Any, Any]], ...]] = (*TREE, Stream)
"""One instance of each runs beside those of `MODEL`."""


@final
class Service:
    """A process that is killed and started again, always at the same port."""

    def __init__(self, name: str, arguments: list[str], settings: dict[str, str], port: int, folder: Path) -> None:
        self.name: Final = name
        self.url: Final = f"http://127.0.0.1:{port}"
        self.unexpected_exits: list[str] = []
        self._launch = partial(launch, arguments=arguments, settings=settings, folder=folder)
        self._starts = itertools.count(1)
        self._program: Program | None = None

    async def start(self) -> None:
        """Returns once it is up; a no-op while it runs."""
        if self._program is not None:
            return
        self._program = self._launch(f"{self.name}-{next(self._starts)}")
        await self._program.until_ready()

    def kill(self) -> None:
        """kill -9. An earlier end is added to `unexpected_exits`."""
        if self._program is not None:
            code = self._program.exit_code
            if code is not None:
                self.unexpected_exits.append(f"{self.name} ended by itself with {code}:\n{self._program.log_tail()}")
            self._program.kill()
            self._program = None

    async def stop(self) -> None:
        """SIGTERM; a non-zero exit code is added to `unexpected_exits`."""
        assert self._program is not None
        self._program.terminate()
        if await self._program.until_ended() != 0:
            self.unexpected_exits.append(
                f"{self.name} ended with {self._program.exit_code} after SIGTERM:\n{self._program.log_tail()}"
            )
        self._program.kill()
        self._program = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Servers and processes. hub connects to `rabbitmq` through `proxy` only."""

    rabbitmq: RabbitMQ
    proxy: FaultProxy
    redis: Redis
    registry: Service
    gateways: tuple[Service, Service]
    fleet: Fleet
    others: tuple[Fleet, ...]
    journal: Path

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        """All instances, of all models."""
        return (self.fleet, *self.others)

    @property
    def deaths(self) -> dict[int, float]:
        """See `Fleet.deaths`."""
        return {process: at for fleet in self.fleets for process, at in fleet.deaths.items()}

    @property
    def unexpected_exits(self) -> list[str]:
        """Processes that ended by themselves, or with a non-zero exit code."""
        return [
            *(text for fleet in self.fleets for text in fleet.unexpected_exits),
            *(text for each in (self.registry, *self.gateways) for text in each.unexpected_exits),
        ]

    async def repair(self) -> None:
        """Repairs faults that a run was stopped in the middle of."""
        self.proxy.restore()
        for server in (self.rabbitmq, self.redis):
            if server.is_alive():
                server.thaw()
            await run_sync(server.start)
        for service in (self.registry, *self.gateways):
            await service.start()

    async def final_state(self) -> FinalState:
        """Messages in the queues, and instances that the registry lists as live."""
        columns = ("name", "messages_ready", "messages_unacknowledged")
        rows = [row.split("\t") for row in (await run_sync(self.rabbitmq.ctl, "list_queues", *columns)).splitlines()]
        depths = {row[0]: (int(row[1]), int(row[2])) for row in rows if row[0].startswith(MODEL)}
        async with open_client() as http:
            with fail_after(ANSWER_TIMEOUT):
                model = (await http.get(f"{self.registry.url}/v1/models/{MODEL}")).json()
        ready, unacked = depths[MODEL]
        return FinalState(
            ready=ready,
            unacked=unacked,
            dead_letters=sum(depths[dead_letter_queue(MODEL)]),
            running=self.fleet.members,
            live=sum(instance["state"] == "live" for instance in model["instances"]),
        )

    async def stop(self) -> None:
        """Stops all processes of hub; failures are added to `unexpected_exits`."""
        async with create_task_group() as tg:
            for fleet in self.fleets:
                tg.start_soon(fleet.stop)
        for service in (*self.gateways, self.registry):
            await service.stop()


@asynccontextmanager
async def open_system(plan: Plan, backend: Backend, folder: Path) -> AsyncGenerator[System]:
    """Starts the system with its files in `folder`; it is killed at the end of the block. Errors of the block arrive in an `ExceptionGroup`."""
    with ExitStack() as stack:
        rabbitmq = RabbitMQ(_new_folder(folder / "rabbitmq"))
        stack.callback(rabbitmq.close)
        redis = Redis(_new_folder(folder / "redis"), appendonly=True)
        stack.callback(redis.close)
        async with FaultProxy("127.0.0.1", rabbitmq.port) as proxy:
            logs = _new_folder(folder / "logs")
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
            journal = _new_folder(folder / "journal")
            start = partial(
                launch,
                arguments=["hub.model", f"tests.chaos.model:{MODEL}"],
                settings=common | {FOLDER_VARIABLE: str(journal)},
                folder=logs,
            )
            fleet = Fleet(plan.instances, start, random.Random(plan.seed))
            stack.callback(fleet.close)
            others: list[Fleet] = []
            for number, model in enumerate(OTHER_MODELS):
                start = partial(
                    launch,
                    arguments=["hub.model", f"{model.__module__}:{model.name}"],
                    settings=common | {FOLDER_VARIABLE: str(journal)},
                    folder=logs,
                )
                other = Fleet(1, start, random.Random(plan.seed + number), name=model.name)
                stack.callback(other.close)
                others.append(other)
            async with create_task_group() as tg:
                tg.start_soon(run_sync, rabbitmq.start)  # takes longest, and hub's processes wait for it
                await run_sync(redis.start)
                await registry.start()
                for gateway in gateways:
                    tg.start_soon(gateway.start)
            yield System(
                rabbitmq=rabbitmq,
                proxy=proxy,
                redis=redis,
                registry=registry,
                gateways=(gateways[0], gateways[1]),
                fleet=fleet,
                others=tuple(others),
                journal=journal,
            )


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
