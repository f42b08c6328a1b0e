"""compose.yaml as Compose itself reads it, and the checks of hub's services in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hub.cli.load import load_model
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from tests.deploy.program import Process, parse

COMPOSE: Final = Path(sys.executable).with_name("docker-compose")
SECRETS: Final = {
    "HUB_TOKEN": "t" * 48,
    "HUB_API_KEYS": "k" * 48,
    "RABBITMQ_PASSWORD": "p" * 48,
    "GRAFANA_PASSWORD": "g" * 48,
}
OURS: Final = ("registry", "gateway", "model-a", "digits")
INSTANCES: Final = ("model-a", "digits")
SERVERS: Final = {"broker_url": ("rabbitmq", 5672), "store_url": ("redis", 6379), "directory_url": ("redis", 6379)}

Services = Mapping[str, Mapping[str, Any]]


class Refused(Exception):
    """Compose refuses the file; the text is its output."""


def compose(folder: Path, secrets: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """The file of a folder with all variables filled in, as Compose reads it.

    Raises:
        Refused: Compose says that it is wrong.
    """
    done = subprocess.run(
        [COMPOSE, "--project-directory", folder, "--env-file", "/dev/null", "config", "--format", "json"],
        cwd=folder,
        env={"PATH": "", "HOME": "/nonexistent", **secrets},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise Refused(done.stderr)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def process(service: Mapping[str, Any]) -> Process:
    return _process(tuple(service["command"]), tuple(sorted(service["environment"].items())))


@cache
def _process(command: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> Process:
    return parse(command, dict(environment))


def seconds(text: str) -> float:
    """A duration as Compose prints it: `1m0s`."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def check_commands(file: Mapping[str, Any]) -> Iterator[str]:
    """hub's own services: every flag and variable. The other checks need this one to find nothing."""
    for name in OURS:
        try:
            process(file["services"][name])
        except Exception as error:  # noqa: BLE001 - whatever hub says is what is wrong
            yield f"{name}: {error}"


def check_hub(file: Mapping[str, Any]) -> Iterator[str]:
    """hub's own services: every URL, port and path."""
    services: Services = file["services"]
    for name in OURS:
        yield from (f"{name}: {complaint}" for complaint in _complaints(name, services, process(services[name])))


def _complaints(name: str, services: Services, it: Process) -> Iterator[str]:
    service = services[name]
    for variable in sorted(it.unknown):
        yield f"does not read {variable}"
    if it.settings.token != SECRETS["HUB_TOKEN"] or it.loopback:
        yield "does not listen for the others under the shared token"
    yield from _urls(services, it)
    published = [(port.get("host_ip"), int(port["published"]), port["target"]) for port in service.get("ports", ())]
    wanted = [] if name in INSTANCES else [("127.0.0.1", it.port, it.port)]
    if published != wanted:
        yield f"publishes {published}, not {wanted}"
    if seconds(service["stop_grace_period"]) < it.stop_bound:
        yield f"is killed after {service['stop_grace_period']} and may need {it.stop_bound:g} s to stop"
    yield from _health(service, it)
    for needed, condition in service["depends_on"].items():
        if condition["condition"] != "service_healthy":
            yield f"does not wait for {needed} to be healthy"
    if isinstance(it.settings, ModelSettings):
        yield from _instance(service, services, it, it.settings)


def _urls(services: Services, it: Process) -> Iterator[str]:
    registry = process(services["registry"]).port
    for field, expected in {**SERVERS, "registry_url": ("registry", registry)}.items():
        url = urlsplit(getattr(it.settings, field, ""))
        if hasattr(it.settings, field) and (url.hostname, url.port) != expected:
            yield f"{field} leads to {url.hostname}:{url.port}, not to {expected[0]}:{expected[1]}"
    broker = urlsplit(it.settings.broker_url)
    given = services["rabbitmq"]["environment"]
    if (broker.username, broker.password) != (given["RABBITMQ_DEFAULT_USER"], given["RABBITMQ_DEFAULT_PASS"]):
        yield "shows RabbitMQ another user than RabbitMQ has"


def _health(service: Mapping[str, Any], it: Process) -> Iterator[str]:
    *command, script = service["healthcheck"]["test"]
    if command != ["CMD", "python", "-c"]:
        yield f"asks for its health by {command}, which the image need not have"
        return
    compile(script, "health check", "exec")
    found = re.search(r"http://[^']+", script)
    url = urlsplit(found.group() if found else "")
    if url.port != it.port or url.hostname not in ("127.0.0.1", service.get("hostname")):
        yield f"asks for its health at {url.netloc}, and listens on port {it.port}"
    if it.guarded.get(url.path, True):
        yield f"asks for its health at {url.path}, which is no route without a credential"


def _instance(service: Mapping[str, Any], services: Services, it: Process, settings: ModelSettings) -> Iterator[str]:
    if settings.instance_host != service.get("hostname"):
        yield f"listens on {settings.instance_host}, which is not its own name {service.get('hostname')}"
    if len(service["networks"]) != 1:
        yield "is in several networks, so that its name has several addresses"
    registry = process(services["registry"]).settings
    assert isinstance(registry, RegistrySettings)
    if settings.ping_period != registry.ping_period:
        yield f"expects a ping every {settings.ping_period:g} s, and the registry pings every {registry.ping_period:g} s"
    try:
        load_model(it.target)
    except Exception as error:  # noqa: BLE001 - whatever hub says is what is wrong
        yield str(error)


def check_networks(file: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Pairs of services that connect to each other."""
    for one, other in pairs:
        if not file["services"][one]["networks"].keys() & file["services"][other]["networks"].keys():
            yield f"{one} and {other} share no network"
