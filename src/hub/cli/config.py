"""Sources of settings: command line, then environment `HUB_*`, then `hub.toml`, then defaults."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import App, ArgumentCollection, Token
from cyclopts.config import Dict, Env

from hub.errors import ConfigurationError
from hub.observability.redaction import HIDDEN, redacted_url
from hub.settings.client import ClientSettings
from hub.settings.connections import DeadSettings, SchemaSettings
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import ProcessSettings
from hub.settings.registry import RegistrySettings
from hub.settings.tools import DoctorSettings, TopSettings
from hub.settings.up import UpSettings

ENV_PREFIX: Final = "HUB_"

COMPONENTS: Final[Mapping[str, type[ProcessSettings]]] = {
    "up": UpSettings,
    "registry": RegistrySettings,
    "gateway": GatewaySettings,
    "model": ModelSettings,
    "call": ClientSettings,
    "dead": DeadSettings,
    "schema": SchemaSettings,
    "top": TopSettings,
    "doctor": DoctorSettings,
}
"""The settings of each command. Those of `call` are also those of `submit`, `task`, `cancel`, `stream` and `batch`."""

AllSettings = DoctorSettings
"""Has the settings of all commands."""

EXPOSED: Final = (
    "has secrets and is readable for every user of this machine: chmod o-r, or use separate files (HUB_..._FILE)"
)
"""What is printed and logged of a configuration file for which `exposed_secrets` finds some."""

MODELS: Final = "models"
"""The models that `hub up` runs if its command line names none. An argument, so not a field of the settings."""

DEFAULT: Final = "default"
"""The source of a value that is not set."""

FILE_SUFFIX: Final = "_FILE"
"""Suffix of the variable of a secret setting that names a file, as Docker and Kubernetes mount secrets."""

SECRET_FILE: Final = "secret file"  # noqa: S105 - not a secret
"""The source of a value from such a file, as cyclopts calls it in messages."""

LONGEST_SECRET: Final = 64 * 1024
"""Maximum size of such a file in bytes."""

_ALL: Final = {field.name: field for field in fields(AllSettings)}
"""The settings of all commands."""

SECRETS: Final = tuple(field.name for field in _ALL.values() if field.metadata.get("secret"))
"""The settings that may be read from a file of their own."""

_NOT_SETTINGS: Final = frozenset({"HUB_CONFIG"})
_TEST_PREFIX: Final = "HUB_TEST_"

_CHOICE_NAMES: Final = {"warn": "warning", "fatal": "critical"}
"""Other names of levels in Python's `logging`."""


def config_path() -> Path:
    """The configuration file: `HUB_CONFIG`, or `hub.toml` in the working directory."""
    return Path(os.environ.get("HUB_CONFIG", "hub.toml"))


def read_config() -> Mapping[str, Any]:
    """The content of the configuration file; empty if there is no `hub.toml` and `HUB_CONFIG` is not set.

    Raises:
        ConfigurationError: It cannot be read, or is not TOML.
    """
    path = config_path()
    named = "HUB_CONFIG" in os.environ
    what = f"HUB_CONFIG is {str(path)!r}" if named else f"the configuration file is {path}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not named:
            return {}
        raise ConfigurationError(f"{what}, and there is no such file: write it, or unset HUB_CONFIG") from error
    except IsADirectoryError as error:
        raise ConfigurationError(f"{what}, which is a folder: name the file in it") from error
    except OSError as error:
        raise ConfigurationError(f"{what}, which cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{what}, which is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def secret_files() -> Mapping[str, str]:
    """Secret settings whose variable `HUB_..._FILE` names a file, with its content up to a final line end.

    Raises:
        ConfigurationError: A file cannot be read, is empty or too large, or the setting has its own variable too.
    """
    found: dict[str, str] = {}
    for name in SECRETS:
        variable = f"{ENV_PREFIX}{name.upper()}"
        path = os.environ.get(f"{variable}{FILE_SUFFIX}")
        if path is None:
            continue
        if variable in os.environ:
            raise ConfigurationError(f"{variable} and {variable}{FILE_SUFFIX} are both set: unset one of them")
        found[name] = _secret_in(f"{variable}{FILE_SUFFIX}", path)
    return found


def exposed_secrets() -> Sequence[str]:
    """Secret settings in a configuration file that is readable for every user of this machine."""
    path = config_path()
    try:
        exposed = path.stat().st_mode & stat.S_IROTH
    except OSError:
        return []
    return [name for name, value in read_config().items() if exposed and name in SECRETS and _is_secret(name, value)]


def _is_secret(name: str, value: object) -> bool:
    return bool(value) and (not name.endswith("_url") or redacted_url(str(value)) != value)


def _secret_in(variable: str, path: str) -> str:
    what = f"{variable} is {path!r}"
    try:
        with Path(path).open("rb") as file:
            content = file.read(LONGEST_SECRET + 1)
        text = content.decode()
    except FileNotFoundError as error:
        raise ConfigurationError(f"{what}, and there is no such file: write it, or unset {variable}") from error
    except IsADirectoryError as error:
        raise ConfigurationError(f"{what}, which is a folder: name the file in it") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8, or not a path"
        raise ConfigurationError(f"{what}, which cannot be read: {reason}") from error
    if len(content) > LONGEST_SECRET:
        raise ConfigurationError(f"{what}, which has more than {LONGEST_SECRET} bytes: that is not a secret of hub")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret.strip():
        raise ConfigurationError(f"{what}, which is empty: write the secret into it, or unset {variable}")
    return secret


def layers() -> list[Callable[[App, tuple[str, ...], ArgumentCollection], None]]:
    """The layers of settings below the command line; earlier layers win.

    Raises:
        ConfigurationError: See `read_config`.
    """
    settings = {name: value for name, value in read_config().items() if name != MODELS}
    return [
        Env(ENV_PREFIX, command=False),
        Dict(dict(secret_files()), source=SECRET_FILE, use_commands_as_keys=False, allow_unknown=True),
        # Unknown keys are refused by `check_names`, against the settings of all components: they share one file.
        Dict(settings, source=str(config_path()), use_commands_as_keys=False, allow_unknown=True),
        _spell_choices,
    ]


def models_of_layers() -> Sequence[str]:
    """The models of `HUB_MODELS` (separated by commas or spaces) or else of the file (a list, or such a text).

    Raises:
        ConfigurationError: The entry of the file is neither.
    """
    found = os.environ.get(f"{ENV_PREFIX}{MODELS.upper()}") or read_config().get(MODELS, "")
    if isinstance(found, str):
        return found.replace(",", " ").split()
    try:
        return msgspec.convert(found, list[str])
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f'{config_path()}: models is {found!r}; write models = ["pkg.module:Class"]'
        ) from error


def check_names() -> None:
    """Refuses keys in the file and `HUB_*` variables that no component has: they are typing errors.

    Raises:
        ConfigurationError: Names the nearest known setting. Also when the file cannot be read.
    """
    known = [*_ALL, MODELS]
    path = config_path()
    for key, value in read_config().items():
        if isinstance(value, dict):
            near = next((name for name in known if name.startswith(f"{key}_")), known[0])
            raise ConfigurationError(
                f"{path} has a table [{key}]: write all settings above any table, such as {near} = ..."
            )
        _check(key, key, known, where=str(path))
    for variable in _variables():
        _check(variable, _setting(variable), known, where="the environment", prefix=ENV_PREFIX)


def unused_variables(component: type[ProcessSettings]) -> Sequence[str]:
    """`HUB_*` variables of settings that only other components have."""
    used = {field.name for field in fields(component)}
    if component is UpSettings:
        used.add(MODELS)
    return [variable for variable in _variables() if _setting(variable) not in used]


def _setting(variable: str) -> str:
    """The setting of a variable, also of one that names a file."""
    name = variable.removeprefix(ENV_PREFIX).lower()
    bare = name.removesuffix(FILE_SUFFIX.lower())
    return bare if bare in SECRETS else name


def _variables() -> Sequence[str]:
    return sorted(
        variable
        for variable in os.environ
        if variable.startswith(ENV_PREFIX) and not variable.startswith(_TEST_PREFIX) and variable not in _NOT_SETTINGS
    )


def _spell_choices(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Accepts choices in upper and lower case, in all layers."""
    for argument in arguments:
        choices = argument.get_choices(force=True) or ()
        for number, token in enumerate(argument.tokens):
            name = token.value.strip().lower()
            name = _CHOICE_NAMES.get(name, name)
            if name in choices:
                argument.tokens[number] = Token(
                    keyword=token.keyword, value=name, source=token.source, index=token.index, keys=token.keys
                )


def _check(given: str, name: str, known: Sequence[str], *, where: str, prefix: str = "") -> None:
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    right = prefix + (near[0].upper() if prefix else near[0]) if near else ""
    hint = f"; did you mean {right}?" if right else "; `hub config show` lists the settings"
    raise ConfigurationError(f"{where} sets {given}, which is not a setting of hub{hint}")


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One line of `hub config show`."""

    name: str
    value: str
    source: str


def describe(
    component: type[ProcessSettings], settings: ProcessSettings, arguments: Sequence[str]
) -> list[SettingLine]:
    """Each setting of a component with its value and source; secrets are hidden.

    Args:
        component: The settings class; its defaults may differ from those of `hub up`.
        settings: The values of all layers.
        arguments: The command line.
    """
    found = sources_of_settings(arguments)
    lines: list[SettingLine] = []
    for field in fields(component):
        source = found.get(field.name, DEFAULT)
        value: object = getattr(component if source == DEFAULT else settings, field.name)
        if field.metadata.get("secret") and value:
            value = redacted_url(str(value)) if field.name.endswith("_url") else HIDDEN
        lines.append(SettingLine(field.name, "" if value is None else str(value), source))
    return lines


def sources_of_settings(arguments: Sequence[str]) -> Mapping[str, str]:
    """The source of each setting that is not at its default."""
    found = dict(_sources())
    given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    for name in _ALL:
        option = "--" + name.replace("_", "-")
        if option in given or f"--no-{option[2:]}" in given:
            found[name] = "command line"
    return found


def _sources() -> dict[str, str]:
    """The layer below the command line that sets each setting."""
    probe = App(config=[])

    @probe.default
    def settings_of_all(*, settings: AllSettings | None = None) -> None: ...

    arguments = probe.assemble_argument_collection()
    for layer in layers():
        layer(probe, (), arguments)
    sources: dict[str, str] = {}
    for argument in arguments:
        if argument.tokens:
            token = argument.tokens[0]
            name = argument.name.removeprefix("--").replace("-", "_")
            variable = f"environment {ENV_PREFIX}{name.upper()}"
            sources[name] = {"env": variable, SECRET_FILE: variable + FILE_SUFFIX}.get(token.source, str(config_path()))
    return sources
