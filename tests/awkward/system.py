"""The processes of a run: one `hub up`, or one process per component over RabbitMQ and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, final

from anyio import sleep
from anyio.to_thread import run_sync

from tests.awkward.models import SETUP_VARIABLE
from tests.awkward.plan import Plan
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis
from tests.support.server import free_port

Backend = Literal["asyncio", "trio"]
Way = Literal["embedded", "servers"]

ROOT: Final = Path(__file__).parents[2]
GOOD: Final = "ModelA"
DRAIN_GRACE: Final = 2.0
POLL_INTERVAL: Final = 0.05
"""Seconds between two checks of a process, which has no event to wait for."""


@final
class Process:
    """One process of hub, with its log in a file."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Mapping[str, str], folder: Path) -> None:
        self.name: Final = name
        self.log: Final = folder / f"{name}.log"
        environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("HUB_")}
        environment |= {f"HUB_{setting.upper()}": value for setting, value in settings.items() if setting.islower()}
        environment |= {variable: value for variable, value in settings.items() if not variable.islower()}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hub", *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    async def ended(self) -> int:
        """Waits for its end."""
        while (code := self.exit_code) is None:
            await sleep(POLL_INTERVAL)
        return code

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        if self.exit_code is None:
            self._process.kill()
        self._process.wait()

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()


@dataclass(kw_only=True)
class System:
    """The running processes; in `hub up` there is one."""

    way: Way
    gateway_url: str
    common: Mapping[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list[Process])

    def start_model(self, model: str, name: str = "") -> Process:
        target = "examples.model_a:ModelA" if model == GOOD else f"tests.awkward.models:{model}"
        process = Process(name or model, ["model", target], self.common, self.folder)
        self.processes.append(process)
        return process

    def unexpected_exits(self) -> list[str]:
        """Processes that have ended by themselves."""
        return [f"{each.name} ended with {each.exit_code}" for each in self.processes if each.exit_code is not None]

    def close(self) -> None:
        for each in self.processes:
            each.close()

    async def stop(self) -> dict[str, tuple[int, float]]:
        """SIGTERM to every process; the exit code of each, and the seconds until it had ended."""
        began = time.monotonic()
        for each in self.processes:
            each.terminate()
        ends: dict[str, tuple[int, float]] = {}
        for each in self.processes:
            ends[each.name] = (await each.ended(), time.monotonic() - began)
        return ends


@asynccontextmanager
async def open_system(plan: Plan, backend: Backend, way: Way, folder: Path) -> AsyncGenerator[System]:
    """Starts the system with logs in `folder`; it is killed at the end of the block."""
    _new_folder(folder)
    with ExitStack() as stack:
        gateway_port, registry_port = free_port(), free_port()
        common = {
            "backend": backend,
            "drain_grace": f"{DRAIN_GRACE}",
            "ping_period": "2",
            "ping_timeout": "1",
            "registry_url": f"http://127.0.0.1:{registry_port}",
            SETUP_VARIABLE: f"{plan.slow_setup}",
        }
        system = System(way=way, gateway_url=f"http://127.0.0.1:{gateway_port}", common=common, folder=folder)
        stack.callback(system.close)
        models = [GOOD, *(case.model for case in plan.cases())]
        ports = {"gateway_port": f"{gateway_port}", "registry_port": f"{registry_port}"}
        if way == "embedded":
            del common["registry_url"]
            targets = ["examples.model_a:ModelA", *(f"tests.awkward.models:{model}" for model in models[1:])]
            system.processes.append(Process("up", ["up", *targets, "--dashboard-port", "0"], common | ports, folder))
            yield system
            return
        rabbitmq = RabbitMQ(_new_folder(folder / "rabbitmq"))
        stack.callback(rabbitmq.close)
        redis = Redis(_new_folder(folder / "redis"))
        stack.callback(redis.close)
        await run_sync(rabbitmq.start)
        await run_sync(redis.start)
        common |= {
            "broker_url": rabbitmq.url,
            "store_url": f"{redis.url}/1",
            "log_format": "json",
        }
        registry = common | {"directory_url": f"{redis.url}/0", "registry_port": ports["registry_port"]}
        del registry["store_url"], registry["registry_url"], registry["drain_grace"]
        gateway = common | {"gateway_port": ports["gateway_port"], "dashboard_port": "0"}
        system.processes.append(Process("registry", ["registry"], registry, folder))
        system.processes.append(Process("gateway", ["gateway"], gateway, folder))
        for model in models:
            system.start_model(model)
        yield system


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
