"""Facts of the program: how it reads a command line, its addresses, its routes."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import MagicMock, patch

from litestar import Litestar
from litestar.routes import HTTPRoute
from typing_extensions import override

from hub.amqp.wait import CLOSE_TIMEOUT
from hub.cli.app import app
from hub.cli.config import check_names, layers
from hub.gateway.app import gateway_app
from hub.gateway.service import build_gateway
from hub.http.serve.server import DRAIN_GRACE
from hub.model.execution.lifespan import TEARDOWN_GRACE
from hub.model.instance.registration import LOGOUT_TIMEOUT
from hub.model.instance.routes import instance_app
from hub.model.worker.worker import SAVE_GRACE, STOP_GRACE
from hub.registry.http.app import registry_app
from hub.registry.service import FLUSH_TIMEOUT
from hub.settings.connections import require_shared
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import ProcessSettings
from hub.settings.registry import RegistrySettings

ROOT: Final = Path(__file__).parents[2]
NOT_OURS: Final = frozenset({"OMP_NUM_THREADS"})
"""Variables of libraries in processes of hub."""


def _gateway_app(settings: GatewaySettings) -> Litestar:
    unused = MagicMock()
    return gateway_app(build_gateway(settings, broker=unused, store=unused, watch=unused, registry=unused))


_APPS: Final[Mapping[type[ProcessSettings], Callable[..., Litestar]]] = {
    RegistrySettings: registry_app,
    GatewaySettings: _gateway_app,
    ModelSettings: instance_app,
}


class Mistake(NamedTuple):
    """A mistake in a copy of a file, and a part of the expected complaint."""

    file: str
    old: str
    new: str
    said: str

    def make(self, folder: Path) -> None:
        path = folder / self.file
        text = path.read_text()
        assert self.old in text, "the mistake cannot be made any more"
        path.write_text(text.replace(self.old, self.new))

    @override
    def __str__(self) -> str:
        return f"{Path(self.file).stem}: {self.new.strip()}"


@dataclass(frozen=True)
class Process:
    """A process of hub, by its command line and environment."""

    settings: RegistrySettings | GatewaySettings | ModelSettings
    target: str
    unknown: frozenset[str]
    """Variables that it does not read."""

    @property
    def port(self) -> int:
        """Also checks that the address may be bound: beyond loopback only with a credential."""
        match self.settings:
            case RegistrySettings() as settings:
                return settings.registry_bind.port
            case GatewaySettings() as settings:
                return settings.gateway_bind.port
            case ModelSettings() as settings:
                return settings.instance_bind.port

    @property
    def loopback(self) -> bool:
        match self.settings:
            case RegistrySettings() as settings:
                return settings.registry_bind.loopback
            case GatewaySettings() as settings:
                return settings.gateway_bind.loopback
            case ModelSettings() as settings:
                return settings.instance_bind.loopback

    @property
    def guarded(self) -> Mapping[str, bool]:
        """Path -> whether it needs a credential."""
        return routes(type(self.settings))

    @property
    def stop_bound(self) -> float:
        """Seconds that it may take to end after SIGTERM: the sum of the limits of what it does then."""
        common = DRAIN_GRACE + CLOSE_TIMEOUT * 2
        match self.settings:
            case RegistrySettings():
                return common + FLUSH_TIMEOUT
            case GatewaySettings():
                return common
            case ModelSettings() as settings:
                return common + settings.drain_grace + STOP_GRACE + SAVE_GRACE + LOGOUT_TIMEOUT + TEARDOWN_GRACE


def parse(
    command: Sequence[str], environment: Mapping[str, str], *, shared: Mapping[str, str] | None = None
) -> Process:
    """Parses a command line and an environment as `hub` does, without running the command.

    Args:
        command: What follows `hub`.
        environment: Variables for this process alone: each has to be one that it reads.
        shared: Variables for several processes: each has to be one that some process of hub reads.

    Raises:
        Exception: Whatever `hub` says about them.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    with (
        tempfile.TemporaryDirectory() as nowhere,  # where no hub.toml is
        chdir(nowhere),
        patch.dict(os.environ, {**clean, **(shared or {}), **environment}, clear=True),
    ):
        check_names()
        before = app.config
        app.config = tuple(layers())
        try:
            _, bound, ignored = app.parse_args(list(command), exit_on_error=False, print_error=False)
        finally:
            app.config = before
    assert not ignored, f"{command} has what hub ignores: {ignored}"
    settings = bound.arguments["settings"]
    assert isinstance(settings, RegistrySettings | GatewaySettings | ModelSettings)
    require_shared(settings)
    known = {f"HUB_{field.name.upper()}" for field in fields(settings)} | NOT_OURS
    return Process(settings, str(bound.arguments.get("target", "")), frozenset(environment.keys() - known))


_known_routes: Final[dict[type[ProcessSettings], Mapping[str, bool]]] = {}


def routes(kind: type[ProcessSettings]) -> Mapping[str, bool]:
    """Path -> whether it needs a credential, of a server with one configured."""
    if kind not in _known_routes:
        _known_routes[kind] = _routes(_APPS[kind])
    return _known_routes[kind]


def _routes(make: Callable[..., Litestar]) -> Mapping[str, bool]:
    values: dict[str, Any] = {"token": "t", "settings": GatewaySettings(api_keys="k")}
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name not in values and parameter.default is not parameter.empty:
            continue
        value = values.get(name, MagicMock())
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    found = (route for route in make(*positional, **named).routes if isinstance(route, HTTPRoute))
    return {
        # Litestar adds the handlers of OPTIONS, which `hub.http.middleware.methods` answers before them.
        route.path: all(each.resolve_guards() for each in route.route_handlers if each.http_methods != {"OPTIONS"})
        for route in found
    }
