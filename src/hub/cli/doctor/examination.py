"""All checks of `hub doctor`, for the component that is to be started."""

from __future__ import annotations

import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from importlib.metadata import version
from typing import Any, Final, Literal, TypeAlias

from anyio import create_task_group

from hub.cli.config import (
    COMPONENTS,
    DEFAULT,
    SettingLine,
    config_path,
    describe,
    exposed_secrets,
    unused_variables,
)
from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.findings import Finding, Findings
from hub.cli.doctor.redis import check_redis
from hub.cli.doctor.services import Listener, check_gateway, check_ports, check_registry
from hub.errors import ConfigurationError
from hub.http.client import open_client
from hub.http.serve.listen import ListenAddress
from hub.settings.connections import MEMORY, require_shared
from hub.settings.tools import DoctorSettings
from hub.types import ModelName, WallClock, wall_clock
from hub_serving import DISTRIBUTION

Component: TypeAlias = Literal["up", "registry", "gateway", "model"]

OLDEST_PYTHON: Final = (3, 11)

_USES: Final[Mapping[Component, Sequence[str]]] = {
    "up": ("broker_url", "store_url", "directory_url"),
    "registry": ("broker_url", "directory_url"),
    "gateway": ("broker_url", "store_url", "registry_url"),
    "model": ("broker_url", "store_url", "registry_url"),
}
"""The servers that each component connects to."""

_LISTENS: Final[Mapping[Component, Sequence[str]]] = {
    "up": ("registry", "gateway", "dashboard"),
    "registry": ("registry",),
    "gateway": ("gateway", "dashboard"),
    "model": ("instance",),
}

_ORDER: Final = ("process", "settings", "ports", "broker", "store", "directory", "registry", "gateway")
_OWN_VARIABLES: Final = ("HUB_MANAGEMENT_URL", "HUB_GATEWAY_URL", "HUB_API_KEY")


def settings_of(component: Component, settings: DoctorSettings, sources: Mapping[str, str]) -> DoctorSettings:
    """`settings` with the defaults of a component for what is not set: those of `hub up` need no servers.

    Raises:
        ConfigurationError: They do not fit together.
    """
    kind = COMPONENTS[component]
    own = {each.name for each in fields(kind)}
    values: dict[str, Any] = {
        each.name: getattr(kind if each.name in own and each.name not in sources else settings, each.name)
        for each in fields(settings)
    }
    values["log_level"] = settings.log_level
    return DoctorSettings(**values)


async def examine(
    component: Component, settings: DoctorSettings, sources: Mapping[str, str], *, clock: WallClock = wall_clock
) -> list[Finding]:
    """Makes all checks; servers are asked at the same time.

    Args:
        component: What is to be started with the settings.
        settings: See `settings_of`.
        sources: Where each setting comes from; see `hub.cli.config.sources_of_settings`.
        clock: The clock of this machine.

    Returns:
        The findings, by area in a fixed order. A server that is out of reach is one of them, no error.
    """
    listeners, problems = _listeners(component, settings, sources)
    areas: dict[str, Findings] = {"process": _process(), "settings": _settings(component, settings, problems)}
    async with open_client() as http:
        areas["ports"], running = await check_ports(http, listeners)
        registry_url = settings.registry_url if "registry_url" in _USES[component] else running.get("registry", "")
        gateway_url = settings.gateway_url or running.get("gateway", "")
        models: Sequence[ModelName] = ()
        if registry_url:
            areas["registry"], models = await check_registry(http, registry_url.rstrip("/"), settings.token, clock)
        checks: list[Callable[[], Awaitable[Findings]]] = []
        for name in _USES[component]:
            if name == "broker_url":
                checks.append(partial(check_broker, settings, settings.backend, models))
            elif name != "registry_url":
                checks.append(partial(check_redis, name.removesuffix("_url"), name, getattr(settings, name), clock))
        if gateway_url:
            checks.append(partial(check_gateway, http, gateway_url.rstrip("/"), settings.api_key))

        async def check(made: Callable[[], Awaitable[Findings]]) -> None:
            findings = await made()
            areas[findings.area] = findings

        async with create_task_group() as tg:
            for made in checks:
                tg.start_soon(check, made, name="hub.doctor check")
    return [finding for area in _ORDER if area in areas for finding in areas[area].found]


def settings_in_use(component: Component, settings: DoctorSettings, arguments: Sequence[str]) -> list[SettingLine]:
    """The settings of the component that are not at their default; secrets are hidden."""
    lines = describe(COMPONENTS[component], settings, arguments)
    return [line for line in lines if line.source != DEFAULT]


def _process() -> Findings:
    findings = Findings("process")
    found, oldest = platform.python_version(), ".".join(map(str, OLDEST_PYTHON))
    text = f"{platform.python_implementation()} {found}, hub {version(DISTRIBUTION)}"
    if sys.version_info < OLDEST_PYTHON:
        findings.problem("python", text, f"use Python {oldest} or later")
    else:
        findings.ok("python", text)
    return findings


def _settings(component: Component, settings: DoctorSettings, problems: Sequence[str]) -> Findings:
    findings = Findings("settings")
    for text in problems:
        findings.problem("listen", *_with_repair(text))
    if component != "up":
        try:
            require_shared(settings)
            if component == "registry" and settings.directory_url.startswith(MEMORY):
                findings.ok("directory", "the directory is memory: this must be the only registry")
        except ConfigurationError as error:
            findings.problem("servers", *_with_repair(str(error)))
    if exposed := exposed_secrets():
        text = f"{config_path()} has secrets ({', '.join(exposed)}) and is readable for every user of this machine"
        findings.warning("secrets", text, f"chmod o-r {config_path()}, or use separate files (HUB_..._FILE)")
    if unused := [each for each in unused_variables(COMPONENTS[component]) if each not in _OWN_VARIABLES]:
        findings.ok("unused", f"without effect on this component: {', '.join(unused)}")
    if not findings.found:
        findings.ok("values", "all settings are valid")
    return findings


def _with_repair(text: str) -> tuple[str, str]:
    """The two halves of an error's text."""
    message, _, repair = text.partition(": ")
    return message, repair


def _listeners(
    component: Component, settings: DoctorSettings, sources: Mapping[str, str]
) -> tuple[list[Listener], list[str]]:
    """The ports of a component, and what is wrong with their addresses."""
    found: list[Listener] = []
    problems: list[str] = []
    for what in _LISTENS[component]:
        try:
            address: ListenAddress | None = getattr(settings, f"{what}_bind")
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        if address is not None:
            setting = f"{what}_port"
            needed = what != "dashboard" or setting in sources
            found.append(Listener(what=what, setting=setting, address=address, needed=needed))
    return found, problems
