"""Checks of the third-party services of compose.yaml, and of all services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from tests.deploy.compose_file import OURS, SECRETS, Services, process
from tests.deploy.program import routes

ALL_SERVICES: Final = {"rabbitmq", "redis", *OURS, "prometheus", "grafana"}
_CALLS_HOME: Final = (
    "GF_ANALYTICS_REPORTING_ENABLED",
    "GF_ANALYTICS_CHECK_FOR_UPDATES",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
    "GF_NEWS_NEWS_FEED_ENABLED",
    "GF_PLUGINS_PLUGIN_ADMIN_ENABLED",
)
_PINNED: Final = re.compile(r":v?\d+\.\d+[.\w-]*(@sha256:[0-9a-f]{64})?$")


def check_all_services(file: Mapping[str, Any]) -> Iterator[str]:
    """Every service has a health check, limits, bounded logs, and ports on loopback only."""
    services: Services = file["services"]
    if services.keys() != ALL_SERVICES:
        yield f"the services are {sorted(services)}"
    for name, service in services.items():
        yield from (f"{name} {complaint}" for complaint in _unbounded(service))
        yield from (f"{name} {complaint}" for complaint in _exposed(name, service))


def _unbounded(service: Mapping[str, Any]) -> Iterator[str]:
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if missing := {"cpus", "memory", "pids"} - limits.keys():
        yield f"has no limit of its {', '.join(sorted(missing))}"
    if "max-size" not in service.get("logging", {}).get("options", {}):
        yield "keeps its logs for ever"
    if "test" not in service.get("healthcheck", {}):
        yield "has no health check"
    if service.get("restart") != "unless-stopped":
        yield "stays down"


def _exposed(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield "may gain privileges"
    if name not in OURS and not _PINNED.search(service["image"]):
        yield f"is {service['image']}, which is not pinned to a minor version"
    if name in OURS and not (service.get("read_only") and service.get("cap_drop") == ["ALL"]):
        yield "may do more than it has to"
    if service.get("read_only") and service.get("secrets"):
        yield "is read-only, so Compose cannot copy secrets into it"
    for port in service.get("ports", ()):
        if port.get("host_ip") != "127.0.0.1":
            yield f"publishes port {port['target']} to other machines"


OWN_MODEL: Final = ("MODEL_IMAGE", ":-own-model")
"""The one setting that is no secret; its service is in a profile, and is not there without that."""


def check_variables(folder: Path) -> Iterator[str]:
    """Secrets have no default, and .env.example has them all, without a value."""
    text = (folder / "compose.yaml").read_text()
    used = [found for found in re.findall(r"\$\{(\w+)([^}]*)\}", text) if found != OWN_MODEL]
    explained = re.findall(r"^(\w+)=(.*)$", (folder / ".env.example").read_text(), re.MULTILINE)
    for name, rest in used:
        if not rest.startswith(":?"):
            yield f"{name} may be empty"
    if {name for name, _ in used} != SECRETS.keys():
        yield f"compose.yaml uses {sorted({name for name, _ in used})}"
    if explained != [(name, "") for name in SECRETS]:
        yield f".env.example has {explained}"


def check_prometheus(folder: Path, file: Mapping[str, Any], flags: str) -> Iterator[str]:
    """Its flags, files, targets and credential.

    Args:
        folder: Where compose.yaml is.
        file: What Compose makes of it.
        flags: What `prometheus --help` prints.
    """
    services: Services = file["services"]
    service = services["prometheus"]
    options = dict(option.removeprefix("--").split("=", 1) for option in service["command"])
    for option in options:
        if not re.search(rf"--{re.escape(option)}\b", flags):
            yield f"prometheus has no option --{option}"
    config_file = inside(service, options.get("config.file", ""))
    if config_file is None or not config_file.exists():
        yield f"prometheus has no {options.get('config.file')}"
        return
    if not any(v["type"] == "volume" and v["target"] == options["storage.tsdb.path"] for v in service["volumes"]):
        yield "prometheus keeps its data where they are lost"
    config = yaml.safe_load((folder / "deploy" / "prometheus" / config_file.name).read_text())
    for rules in config["rule_files"]:
        if not (config_file.parent / rules).exists():
            yield f"prometheus has no {rules}"
    for job in config["scrape_configs"]:
        yield from (f"{job['job_name']}: {text}" for text in _job(job, file))


def _job(job: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    services: Services = file["services"]
    path = job.get("metrics_path", "/metrics")
    for target in [target for group in job.get("static_configs", ()) for target in group["targets"]]:
        name, _, port = target.partition(":")
        if name not in services:
            yield f"there is no {name}"
            continue
        it = process(services[name])
        if int(port) != it.port or path not in it.guarded:
            yield f"{target}{path} is no route of {name}"
        if not services[name]["networks"].keys() & services["prometheus"]["networks"].keys():
            yield f"{name} is out of reach"
    for discovery in job.get("http_sd_configs", ()):
        registry = process(services["registry"])
        prefix = f"http://registry:{registry.port}"
        if discovery["url"].removeprefix(prefix) not in routes(RegistrySettings):
            yield f"{discovery['url']} is no route of the registry"
        if path not in routes(ModelSettings):
            yield f"{path} is no route of an instance"
        yield from _credential(discovery, file)
    yield from _credential(job, file)


def _credential(section: Mapping[str, Any], file: Mapping[str, Any]) -> Iterator[str]:
    shown = section.get("authorization", {}).get("credentials_file", "")
    granted = {
        f"/run/secrets/{secret['source']}": secret["source"]
        for secret in file["services"]["prometheus"].get("secrets", ())
    }
    if shown not in granted or file["secrets"][granted[shown]].get("environment") != "HUB_TOKEN":
        yield f"shows {shown or 'nothing'}, which is not a file with HUB_TOKEN"


def check_grafana(folder: Path, file: Mapping[str, Any]) -> Iterator[str]:
    """The mounted files are provisioned, and the data source is the Prometheus of the same file."""
    service = file["services"]["grafana"]
    environment = service["environment"]
    if inside(service, "/etc/grafana/provisioning") is None:
        yield "grafana has no provisioning"
    home = inside(service, environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    if home is None or not home.exists():
        yield "grafana has no home dashboard"
    for provider in _provisioned(folder, "dashboards", "providers"):
        found = inside(service, provider["options"]["path"])
        if found is None or not list(found.glob("*.json")):
            yield f"grafana has no dashboards in {provider['options']['path']}"
    for source in _provisioned(folder, "datasources", "datasources"):
        if source["url"] != "http://prometheus:9090":
            yield f"grafana asks {source['url']}, which is not Prometheus"
    if environment["GF_SECURITY_ADMIN_PASSWORD"] != SECRETS["GRAFANA_PASSWORD"]:
        yield "grafana's admin has another password than .env says"
    yield from (f"grafana calls home: {name}" for name in _CALLS_HOME if environment.get(name) != "false")


def _provisioned(folder: Path, kind: str, key: str) -> Iterator[Mapping[str, Any]]:
    for path in sorted((folder / "deploy" / "grafana" / "provisioning" / kind).glob("*.yml")):
        yield from yaml.safe_load(path.read_text())[key]


def inside(service: Mapping[str, Any], path: str) -> Path | None:
    """The file in the project that is mounted, read-only, at a path of the container."""
    for volume in service["volumes"]:
        if volume["type"] == "bind" and volume.get("read_only") and Path(path).is_relative_to(volume["target"]):
            return Path(volume["source"]) / Path(path).relative_to(volume["target"])
    return None
