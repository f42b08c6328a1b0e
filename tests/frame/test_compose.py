"""compose.yaml and the Dockerfile against the program: there is no Docker where these tests run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from hub.cli.app import app
from hub.cli.load import load_model
from hub.cli.sources import check_names, layers
from hub.gateway import http_system as gateway_routes
from hub.registry.http import operations as registry_routes
from hub.settings import GatewaySettings, ModelSettings, ProcessSettings, RegistrySettings, require_shared

ROOT = Path(__file__).parents[2]
SECRETS = {"HUB_TOKEN": "t" * 48, "HUB_API_KEYS": "k" * 48, "RABBITMQ_PASSWORD": "p" * 48}
OURS = ("registry", "gateway", "model-a", "digits")
HEALTH = {
    "registry": {*registry_routes.live.paths, *registry_routes.ready.paths},
    "gateway": {*gateway_routes.show_liveness.paths, *gateway_routes.show_readiness.paths},
}


@dataclass(frozen=True)
class Process:
    """One of hub's services, as its container would start it."""

    service: dict[str, Any]
    settings: ProcessSettings
    target: str


def text() -> str:
    return (ROOT / "compose.yaml").read_text()


def services() -> dict[str, dict[str, Any]]:
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda variable: SECRETS[variable.group(1)], text())
    return yaml.safe_load(filled)["services"]  # type: ignore[no-any-return]


def start(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    """Parses the service's command line and environment as `hub` does, and runs nothing."""
    service = services()[name]
    for variable in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)  # where no hub.toml is
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, str(value))
    check_names()
    monkeypatch.setattr(app, "config", tuple(layers()))
    _, bound, ignored = app.parse_args(service["command"], exit_on_error=False, print_error=False)
    assert not ignored
    settings = bound.arguments["settings"]
    assert isinstance(settings, ProcessSettings)
    target = bound.arguments.get("target", "")
    assert isinstance(target, str)
    return Process(service, settings, target)


def port_of(settings: ProcessSettings) -> int:
    """Also checks that the address may be bound: beyond loopback only with a credential."""
    match settings:
        case RegistrySettings():
            return settings.registry_bind.port
        case GatewaySettings():
            return settings.gateway_bind.port
        case ModelSettings():
            return settings.instance_bind.port
        case _:
            raise AssertionError(settings)


@pytest.fixture(params=OURS)
def process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    return start(request.param, monkeypatch, tmp_path)


def test_the_services_are_those_that_make_a_whole_hub() -> None:
    assert set(services()) == {"rabbitmq", "redis", *OURS}


def test_every_variable_is_a_setting_of_its_process(process: Process) -> None:
    known = {f"HUB_{field.name.upper()}" for field in fields(process.settings)}

    assert set(process.service["environment"]) <= known


def test_every_url_leads_to_a_service_and_its_port(
    process: Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry_port = port_of(start("registry", monkeypatch, tmp_path).settings)
    expected = {"broker_url": ("rabbitmq", 5672), "store_url": ("redis", 6379), "directory_url": ("redis", 6379)}
    expected["registry_url"] = ("registry", registry_port)
    urls = {name: urlsplit(getattr(process.settings, name)) for name in expected if hasattr(process.settings, name)}

    assert urls
    for name, url in urls.items():
        assert (url.hostname, url.port) == expected[name], name
        assert url.hostname in services()


def test_every_process_shares_its_servers_and_is_guarded(process: Process) -> None:
    assert process.settings.token == SECRETS["HUB_TOKEN"]
    assert isinstance(process.settings, RegistrySettings | GatewaySettings | ModelSettings)
    require_shared(process.settings)
    port_of(process.settings)


def test_rabbitmq_has_the_user_that_hub_shows_it(process: Process) -> None:
    assert isinstance(process.settings, RegistrySettings | GatewaySettings | ModelSettings)
    url = urlsplit(process.settings.broker_url)
    given = services()["rabbitmq"]["environment"]

    assert (url.username, url.password) == (given["RABBITMQ_DEFAULT_USER"], given["RABBITMQ_DEFAULT_PASS"])


def test_ports_are_published_where_the_process_listens_and_on_this_machine_only(process: Process) -> None:
    port = port_of(process.settings)

    assert process.service.get("ports", []) == ([f"127.0.0.1:{port}:{port}"] if port else [])


@pytest.mark.parametrize("name", HEALTH)
def test_health_is_asked_where_it_is_answered(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process = start(name, monkeypatch, tmp_path)
    *command, script = process.service["healthcheck"]["test"]
    match = re.search(r"http://[^']+", script)

    assert command == ["CMD", "python", "-c"]
    compile(script, "health check", "exec")
    assert match
    assert urlsplit(match.group()).port == port_of(process.settings)
    assert urlsplit(match.group()).path in HEALTH[name]


@pytest.mark.parametrize("name", ["model-a", "digits"])
def test_an_instance_listens_on_its_own_address_and_may_be_pinged(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance = start(name, monkeypatch, tmp_path)
    registry = start("registry", monkeypatch, tmp_path).settings

    assert isinstance(instance.settings, ModelSettings)
    assert isinstance(registry, RegistrySettings)
    assert instance.settings.instance_host == instance.service["hostname"]
    assert {str(network) for network in registry.networks} == {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}


@pytest.mark.parametrize("name", ["model-a", "digits"])
def test_a_model_of_the_image_has_time_to_drain(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    process = start(name, monkeypatch, tmp_path)
    grace = process.service["stop_grace_period"]

    assert isinstance(process.settings, ModelSettings)
    assert grace.endswith("s")
    assert float(grace[:-1]) > process.settings.drain_grace
    monkeypatch.chdir(ROOT)
    assert load_model(process.target).__module__.startswith("examples.")


def test_services_wait_for_what_they_need_to_be_healthy(process: Process) -> None:
    for name, condition in process.service["depends_on"].items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in services()[name]


def test_secrets_have_no_default_and_are_explained() -> None:
    variables = re.findall(r"\$\{([^}:]+)([^}]*)\}", text())
    example = (ROOT / ".env.example").read_text()

    assert {name for name, _ in variables} == SECRETS.keys()
    assert all(rest.startswith(":?") for _, rest in variables)
    assert re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE) == [(name, "") for name in SECRETS]


def test_the_image_holds_a_complete_hub(tmp_path: Path) -> None:
    """Builds the wheel from the files that the Dockerfile copies, and from nothing else."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [
        line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    for source in (name for names in copies for name in names):
        assert f"!{source.split('/')[0]}" in ignored
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, symlinks=True)
        else:
            (tmp_path / source).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("hub/")}
        scripts = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "hub").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources
    assert re.search(r"^hub ?= ?hub\.cli", scripts, re.MULTILINE)
    assert 'ENTRYPOINT ["hub"]' in dockerfile
    assert re.search(r"^USER (?!0|root)", dockerfile, re.MULTILINE)
