"""How fast hub starts and what it takes when idle: `make bench ARGS=start`.

`hub --help`, `hub up` until its model is live, and the memory of an idle registry, gateway and instance over RabbitMQ and
Redis, and of an idle instance over the embedded ones (`hub up` in one process). Times are the best of `--rounds`, MB are
1,000,000 bytes of resident memory, ten seconds after the start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import msgspec

from benchmarks.records import record
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

HUB: Final = Path(sys.executable).with_name("hub")
MODEL: Final = "examples.model_a:ModelA"
SETTLE: Final = 10.0
"""Seconds until the memory of an idle process is read: a ping period."""

START_TIMEOUT: Final = 60.0


def megabytes(pid: int) -> float:
    """Resident memory of a process; a MB is 1,000,000 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(*arguments: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `hub` process that is terminated at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    with subprocess.Popen(
        [HUB, *arguments], env=environment | {"HUB_LOG_LEVEL": "error"} | settings, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(40)


def until(is_so: Callable[[], bool]) -> None:
    """Waits until a reply is as it should be."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except OSError:  # nothing listens yet
            pass
        time.sleep(0.005)
    raise SystemExit(f"nothing was ready within {START_TIMEOUT:g} s")


def is_ready(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as reply:
        return bool(reply.status == 200)


def has_model(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as reply:
        return bool(msgspec.json.decode(reply.read())["models"])


def help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([HUB, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def up(backend: str, *, settle: float = 0.0) -> tuple[float, float]:
    """Seconds until the model of `hub up` is live, and the memory of its process."""
    port, registry = free_port(), free_port()
    began = time.perf_counter()
    with running(
        "up", MODEL, "--backend", backend,
        HUB_GATEWAY_PORT=str(port), HUB_REGISTRY_PORT=str(registry), HUB_DASHBOARD_PORT="0",
    ) as process:  # fmt: skip
        until(lambda: has_model(port))
        seconds = time.perf_counter() - began
        time.sleep(settle)
        return seconds, megabytes(process.pid)


@contextmanager
def system(backend: str, broker: str, store: str, **more: str) -> Iterator[tuple[int, dict[str, int]]]:
    """A registry, a gateway and an instance over real servers: the port of the gateway, and the processes by name."""
    ports = {"registry": free_port(), "gateway": free_port()}
    settings = {
        "HUB_BROKER_URL": broker,
        "HUB_STORE_URL": store,
        "HUB_DIRECTORY_URL": store,
        "HUB_REGISTRY_PORT": str(ports["registry"]),
        "HUB_GATEWAY_PORT": str(ports["gateway"]),
        "HUB_REGISTRY_URL": f"http://127.0.0.1:{ports['registry']}",
        "HUB_DASHBOARD_PORT": "0",
        **more,
    }
    commands: dict[str, Sequence[str]] = {
        "registry": ["registry"],
        "gateway": ["gateway"],
        "instance": ["model", MODEL],
    }
    with ExitStack() as stack:
        pids: dict[str, int] = {}
        for name, command in commands.items():
            pids[name] = stack.enter_context(running(*command, "--backend", backend, **settings)).pid
            if name in ports:
                until(partial(is_ready, ports[name]))
        until(lambda: has_model(ports["gateway"]))
        yield ports["gateway"], pids


def idle(backend: str, broker: str, store: str) -> dict[str, float]:
    """Memory of an idle registry, gateway and instance."""
    with system(backend, broker, store) as (_, pids):
        time.sleep(SETTLE)
        return {f"{name}_mb": megabytes(pid) for name, pid in pids.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds = range(arguments.rounds)
    help_seconds()  # byte code is written, files are in memory
    figures = {"help_s": min(help_seconds() for _ in rounds)}
    record("start", figures)
    print(f"hub --help {figures['help_s']:.2f} s (goal 0.25)", flush=True)
    with rabbitmq() as broker, redis() as store:
        for backend in ("asyncio", "trio"):
            figures = idle(backend, broker.url, store.url)
            figures["up_s"] = min(up(backend)[0] for _ in rounds)
            figures["up_mb"] = up(backend, settle=SETTLE)[1]
            record("start", figures, backend=backend)
            print(
                f"{backend}: hub up {figures['up_s']:.2f} s (goal 2.5); idle: instance {figures['instance_mb']:.1f} MB (goal 70),"
                f" gateway {figures['gateway_mb']:.1f} MB, registry {figures['registry_mb']:.1f} MB,"
                f" all in one process without servers {figures['up_mb']:.1f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
