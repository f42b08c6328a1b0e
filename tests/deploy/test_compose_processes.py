"""The services of compose.yaml, run on this machine: their commands, environments and health checks.

Names of services and their ports become addresses of this machine, and nothing else is changed. Redis runs with compose's
own options; RabbitMQ is the one that all tests share.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.deploy.compose_file import SECRETS, compose, seconds
from tests.deploy.program import ROOT
from tests.support.server import ServerProcess, free_port
from tests.system.processes import HubProcess

BIN: Final = Path(sys.executable).parent
TIMEOUT: Final = 90.0
"""Seconds for one step: generous, since a machine under load starts processes slowly."""

Address = Mapping[str, str]


def translated(text: str, addresses: Address) -> str:
    for name, address in addresses.items():
        text = text.replace(name, address)
    return text


def healthy(service: Mapping[str, Any], addresses: Address) -> bool:
    """Runs the health check of the service, within its timeout."""
    kind, program, *arguments = service["healthcheck"]["test"]
    assert kind == "CMD"
    found = sys.executable if program == "python" else program
    command = [found, *(translated(argument, addresses) for argument in arguments)]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False, timeout=TIMEOUT, cwd="/"
    )
    return done.returncode == 0


def until_healthy(service: Mapping[str, Any], addresses: Address, process: HubProcess) -> None:
    give_up = time.monotonic() + TIMEOUT
    while not healthy(service, addresses):
        assert process.process.poll() is None, process.output()
        assert time.monotonic() < give_up, "it never became healthy"
        time.sleep(0.1)


@contextmanager
def started(service: Mapping[str, Any], addresses: Address, **more: str) -> Iterator[HubProcess]:
    """The image's `hub` with the service's command and environment."""
    environment = {name: translated(value, addresses) for name, value in service["environment"].items()}
    with subprocess.Popen(
        [BIN / "hub", *service["command"]],
        cwd=ROOT,  # where the examples are
        env={"PATH": os.environ["PATH"], "HOME": "/tmp", **environment, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = HubProcess(process)
        try:
            yield running
        finally:
            process.kill()


@contextmanager
def redis(service: Mapping[str, Any], port: int, folder: Path) -> Iterator[None]:
    """Redis with the service's command; its health check says when it is up."""
    command: Sequence[str] = service["command"]
    own = ["--port", f"{port}", "--bind", "127.0.0.1", "--dir", f"{folder}", "--save", ""]
    *check, ping = service["healthcheck"]["test"]
    asked = {**service, "healthcheck": {"test": [*check, "-p", f"{port}", ping]}}
    server = ServerProcess(
        [*command, *own],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        log=folder / "server.log",
        ready=lambda: healthy(asked, {}),
    )
    try:
        server.start()
        yield
    finally:
        server.kill()


@pytest.mark.redis
@pytest.mark.timeout(240)
def test_the_services_of_compose_become_healthy_answer_a_call_and_end_in_time(amqp_url: str, tmp_path: Path) -> None:
    services = compose(ROOT)["services"]
    ports = {name: free_port() for name in ("redis", "registry", "gateway", "model-a")}
    here = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    addresses = {
        f"amqp://hub:{SECRETS['RABBITMQ_PASSWORD']}@rabbitmq:5672/": amqp_url,
        "redis:6379": here["redis"],
        "registry:8001": here["registry"],
        "127.0.0.1:8001": here["registry"],
        "127.0.0.1:8000": here["gateway"],
        "instance:8080": here["model-a"],
        "8080": f"{ports['model-a']}",
        "instance": "127.0.0.1",
        "172.16.0.0/12": "127.0.0.0/8",  # where instances are here
    }
    token = {"Authorization": f"Bearer {SECRETS['HUB_TOKEN']}"}
    key = {"Authorization": f"Bearer {SECRETS['HUB_API_KEYS']}"}
    with ExitStack() as stack, httpx2.Client(timeout=TIMEOUT) as http:
        stack.enter_context(redis(services["redis"], ports["redis"], tmp_path))
        running: dict[str, HubProcess] = {}
        own_ports = {
            "registry": {"HUB_REGISTRY_PORT": f"{ports['registry']}"},
            "gateway": {"HUB_GATEWAY_PORT": f"{ports['gateway']}"},
            "model-a": {},
        }
        for together in (["registry"], ["gateway", "model-a"]):  # in the order of their dependencies
            for name in together:
                running[name] = stack.enter_context(started(services[name], addresses, **own_ports[name]))
            for name in together:
                until_healthy(services[name], addresses, running[name])

        give_up = time.monotonic() + TIMEOUT
        call = f"http://{here['gateway']}/v1/models/ModelA"
        while (reply := http.post(call, json={"messages": "hello"}, headers=key)).status_code != 200:
            assert reply.status_code in (404, 503), reply.text  # the gateway has yet to hear of the model
            assert time.monotonic() < give_up, reply.text
            time.sleep(0.1)
        assert reply.json() == {"reply": "Processed message: hello\n"}

        assert http.post(call, json={"messages": "hello"}, headers=token).status_code == 401
        [group] = http.get(f"http://{here['registry']}/v1/prometheus/targets", headers=token).json()
        assert group["targets"] == [here["model-a"]]
        for name in running:
            assert http.get(f"http://{here[name]}/metrics").status_code == 401
            assert "\nhub_" in http.get(f"http://{here[name]}/metrics", headers=token).text

        for name in ("model-a", "gateway", "registry"):
            running[name].terminate()
            code = running[name].wait(timeout=seconds(services[name]["stop_grace_period"]))
            assert code == 0, running[name].output()
        for name in running:
            assert not healthy(services[name], addresses)
