"""compose.yaml against Compose, its schema, the program, and the files that it mounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.compose_file import OURS, SECRETS, Refused, check_commands, check_hub, check_networks, compose
from tests.deploy.compose_servers import check_all_services, check_grafana, check_prometheus, check_variables
from tests.deploy.program import ROOT, Mistake

FILES = ("compose.yaml", ".env.example", "deploy/prometheus", "deploy/grafana")
PAIRS = [("grafana", "prometheus"), *((one, other) for one in OURS for other in ("rabbitmq", "redis", "registry"))]


@pytest.fixture(scope="module")
def flags() -> str:
    return subprocess.run(["prometheus", "--help"], capture_output=True, text=True, check=True).stdout


def complaints(folder: Path, flags: str) -> Iterator[str]:
    yield from check_variables(folder)
    try:
        file = compose(folder)
    except Refused as refused:
        yield str(refused)
        return
    unread = list(check_commands(file))
    if unread:
        yield from unread
        return
    yield from check_all_services(file)
    yield from check_hub(file)
    yield from check_networks(file, PAIRS)
    yield from check_prometheus(folder, file, flags)
    yield from check_grafana(folder, file)


def test_all_checks_of_the_compose_file_pass(flags: str) -> None:
    assert list(complaints(ROOT, flags)) == []


def test_grafana_reaches_neither_rabbitmq_nor_redis() -> None:
    pairs = [("grafana", "rabbitmq"), ("grafana", "redis")]

    assert len(list(check_networks(compose(ROOT), pairs))) == len(pairs)


def test_a_model_of_ones_own_needs_its_image_and_nothing_else() -> None:
    file = compose(ROOT, {**SECRETS, "COMPOSE_PROFILES": "own", "MODEL_IMAGE": "sentiment:1"})["services"]
    own, example = file["own-model"], file["model-a"]
    apart = ("image", "build", "command", "deploy", "profiles")

    assert (own["image"], own.get("build"), own.get("command")) == ("sentiment:1", None, None)
    assert {key: own[key] for key in own if key not in apart} == {
        key: example[key] for key in example if key not in apart
    }
    assert "own-model" not in compose(ROOT)["services"]


def test_the_compose_file_conforms_to_the_compose_specification() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("missing", SECRETS)
@pytest.mark.parametrize("value", [None, ""])
def test_compose_does_not_start_without_a_secret(missing: str, value: str | None) -> None:
    given = {name: secret for name, secret in SECRETS.items() if name != missing}

    with pytest.raises(Refused, match=missing):
        compose(ROOT, given if value is None else {**given, missing: value})


MISTAKES = [
    Mistake("compose.yaml", "HUB_REGISTRY_HOST:", "HUB_REGISTY_HOST:", "did you mean HUB_REGISTRY_HOST"),
    Mistake("compose.yaml", "HUB_DIRECTORY_URL:", "HUB_STORE_URL:", "registry: does not read HUB_STORE_URL"),
    Mistake("compose.yaml", "HUB_REGISTRY_HOST: 0.0.0.0", "HUB_REGISTRY_HOST: 127.0.0.1", "does not listen"),
    Mistake("compose.yaml", "  HUB_TOKEN: ${HUB_TOKEN:?", "  HUB_TOKEN: x${HUB_TOKEN:?", "shared token"),
    Mistake("compose.yaml", "command: [registry]", "command: [registry, --ping-perod, '3']", "Unknown option"),
    Mistake(
        "compose.yaml", "HUB_REGISTRY_URL: http://registry:8001", "HUB_REGISTRY_URL: http://registry:8000", "leads to"
    ),
    Mistake("compose.yaml", "redis://redis:6379", "redis://reddis:6379", "leads to reddis"),
    Mistake("compose.yaml", "@rabbitmq:5672", "@rabbitmq:5671", "leads to rabbitmq:5671"),
    Mistake("compose.yaml", "RABBITMQ_DEFAULT_USER: hub", "RABBITMQ_DEFAULT_USER: bub", "another user"),
    Mistake("compose.yaml", "127.0.0.1:8000:8000", "127.0.0.1:8000:8001", "gateway: publishes"),
    Mistake("compose.yaml", "127.0.0.1:8001:8001", "8001:8001", "to other machines"),
    Mistake("compose.yaml", "127.0.0.1:3000:3000", "3000:3000", "to other machines"),
    Mistake("compose.yaml", "8001/health/ready", "8001/health/redy", "/health/redy, which is no route"),
    Mistake("compose.yaml", "instance:8080/health/ready", "instance:8080/ping", "/ping, which is no route without"),
    Mistake("compose.yaml", "instance:8080/health", "instance:8081/health", "listens on port 8080"),
    Mistake("compose.yaml", 'HUB_INSTANCE_PORT: "8080"', 'HUB_INSTANCE_PORT: "0"', "listens on port 0"),
    Mistake("compose.yaml", "hostname: instance", "hostname: instances", "not its own name"),
    Mistake(
        "compose.yaml",
        "  networks: [hub]\n\n# One image",
        "  networks: [hub, charts]\n\n# One image",
        "several networks",
    ),
    Mistake("compose.yaml", "stop_grace_period: 60s\n  #", "stop_grace_period: 30s\n  #", "may need 58 s"),
    Mistake("compose.yaml", "examples.model_a:ModelA", "examples.model_a:ModelB", "has no model ModelB"),
    Mistake("compose.yaml", "HUB_LOG_FORMAT: json", "HUB_LOG_FORMAT: jsn", "Invalid value"),
    Mistake("compose.yaml", "memory: 512M, pids: 128", "memory: 512M", "gateway has no limit of its pids"),
    Mistake("compose.yaml", "redis:7.4", "redis:7", "not pinned"),
    Mistake("compose.yaml", "--storage.tsdb.retention.time", "--storage.tsdb.retentoin.time", "no option"),
    Mistake("compose.yaml", "./deploy/prometheus:/etc", "./deploy/prometeus:/etc", "has no /etc/prometheus"),
    Mistake("compose.yaml", "secrets: [hub_token]", "secrets: [hub_tokn]", "undefined secret hub_tokn"),
    Mistake("compose.yaml", "environment: HUB_TOKEN", "environment: HUB_API_KEYS", "not a file with HUB_TOKEN"),
    Mistake("compose.yaml", "secrets: [hub_token]", "read_only: true\n    secrets: [hub_token]", "cannot copy secrets"),
    Mistake("compose.yaml", "networks: [hub, charts]", "networks: [charts]", "registry is out of reach"),
    Mistake("compose.yaml", "networks: [charts]", "networks: [hub_]", "undefined network"),
    Mistake("compose.yaml", "dashboards/hub.json", "dashboards/hubs.json", "no home dashboard"),
    Mistake("compose.yaml", "dashboards:/etc/grafana/dashboards", "dashboards:/etc/grafana/boards", "no dashboards in"),
    Mistake("compose.yaml", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_CHECK_FOR_UPDATE", "calls home"),
    Mistake("compose.yaml", "GRAFANA_PASSWORD:?", "GRAFANA_PASSWORD:-", "may be empty"),
    Mistake("compose.yaml", "condition: service_healthy", "condition: service_started", "to be healthy"),
    Mistake(".env.example", "GRAFANA_PASSWORD=", "GRAFANA_PASSWORD=secret", ".env.example has"),
    Mistake(
        "deploy/prometheus/prometheus.yml",
        "registry:8001/v1/prometheus/targets",
        "registry:8001/v1/targets",
        "no route",
    ),
    Mistake("deploy/prometheus/prometheus.yml", '"gateway:8000"', '"gateway:8001"', "no route of gateway"),
    Mistake(
        "deploy/prometheus/prometheus.yml", "/run/secrets/hub_token", "/run/secrets/token", "not a file with HUB_TOKEN"
    ),
    Mistake("deploy/prometheus/prometheus.yml", "- hub.rules.yml", "- hubs.rules.yml", "has no hubs.rules.yml"),
    Mistake("deploy/grafana/provisioning/datasources/hub.yml", "prometheus:9090", "prometheus:9091", "not Prometheus"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_found(mistake: Mistake, flags: str, tmp_path: Path) -> None:
    for name in FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    mistake.make(tmp_path)

    found = list(complaints(tmp_path, flags))

    assert any(mistake.said in complaint for complaint in found), found
