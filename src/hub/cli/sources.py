"""Where settings come from: command line, then environment `HUB_*`, then `hub.toml`, then defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from cyclopts import App
from cyclopts.config import Env, Toml

from hub.errors import ConfigurationError
from hub.settings import (
    DeadSettings,
    GatewaySettings,
    ModelSettings,
    ProcessSettings,
    RegistrySettings,
    SchemaSettings,
    UpSettings,
    shown,
)

ENV_PREFIX: Final = "HUB_"
HIDDEN: Final = "***"

COMPONENTS: Final[Mapping[str, type[ProcessSettings]]] = {
    "up": UpSettings,
    "registry": RegistrySettings,
    "gateway": GatewaySettings,
    "model": ModelSettings,
    "dead": DeadSettings,
    "schema": SchemaSettings,
}
"""What each command is set by."""

_NOT_SETTINGS: Final = frozenset({"HUB_CONFIG"})
_TEST_PREFIX: Final = "HUB_TEST_"


def config_path() -> Path:
    """The configuration file: `HUB_CONFIG`, or `hub.toml` in the working directory."""
    return Path(os.environ.get("HUB_CONFIG", "hub.toml"))


def layers() -> list[Env | Toml]:
    """What fills in for options that are not on the command line; earlier layers win."""
    path = config_path()
    return [
        Env(ENV_PREFIX, command=False),
        # Unknown keys are refused by `check_names`, against the settings of all components: they share one file.
        Toml(path, must_exist="HUB_CONFIG" in os.environ, use_commands_as_keys=False, allow_unknown=True),
    ]


def check_names() -> None:
    """Refuses keys in `hub.toml` and `HUB_*` variables that no component knows, since each is a typing error.

    Raises:
        ConfigurationError: Names the nearest known setting. Also when the file is not TOML.
    """
    known = [field.name for field in fields(UpSettings)]
    path = config_path()
    if path.exists():
        try:
            keys = tomllib.loads(path.read_text()).keys()
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}") from error
        for key in keys:
            _check(key, key, known, where=str(path))
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and not variable.startswith(_TEST_PREFIX) and variable not in _NOT_SETTINGS:
            _check(variable, variable.removeprefix(ENV_PREFIX).lower(), known, where="the environment")


def _check(given: str, name: str, known: Sequence[str], *, where: str) -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "; `hub config show` lists the settings"
    raise ConfigurationError(f"{where} sets {given}, which is no setting of hub{hint}")


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of `hub config show`."""

    name: str
    value: str
    source: str


def describe(component: type[ProcessSettings], settings: UpSettings, arguments: Sequence[str]) -> list[Shown]:
    """Each setting of a component, its value with secrets hidden, and where the value came from.

    Args:
        component: The settings class; its defaults may differ from those of `hub up`.
        settings: What the command line, the environment and the file say.
        arguments: The command line.
    """
    given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    found = _sources()
    lines: list[Shown] = []
    for field in fields(component):
        option = "--" + field.name.replace("_", "-")
        if option in given or f"--no-{option[2:]}" in given:
            source = "command line"
        else:
            source = found.get(field.name, "default")
        value: object = getattr(component if source == "default" else settings, field.name)
        if field.metadata.get("secret") and value:
            value = shown(str(value)) if "://" in str(value) else HIDDEN
        lines.append(Shown(field.name, "" if value is None else str(value), source))
    return lines


def _sources() -> dict[str, str]:
    """Setting -> the layer below the command line that sets it."""
    probe = App(config=[])

    @probe.default
    def settings_of_all(*, settings: UpSettings | None = None) -> None: ...

    arguments = probe.assemble_argument_collection()
    for layer in layers():
        layer(probe, (), arguments)
    sources: dict[str, str] = {}
    for argument in arguments:
        if argument.tokens:
            token = argument.tokens[0]
            name = argument.name.removeprefix("--").replace("-", "_")
            is_env = token.source == "env"
            sources[name] = f"environment {ENV_PREFIX}{name.upper()}" if is_env else str(config_path())
    return sources
