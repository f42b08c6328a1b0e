"""The reference of settings, from the classes that the command line reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from inspect import cleandoc, get_annotations
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from hub.cli.config import COMPONENTS, ENV_PREFIX, FILE_SUFFIX, SECRETS, AllSettings
from hub.settings.client import ClientSettings

_INTRODUCTION = """
Each setting has one name and three places: the option `--gateway-port`, the variable `HUB_GATEWAY_PORT`, and the key
`gateway_port` of `hub.toml` (or of the file that `HUB_CONFIG` names). The command line wins over the environment, the environment
over the file. `hub config show COMMAND` prints the values in use with their sources. A name that is no setting is refused, with the
nearest one. The key `models` (`HUB_MODELS`) lists what `hub up` runs without arguments.

Switches are `--debug` and `--no-debug` on the command line, `true` and `false` elsewhere. Times are in seconds, sizes in bytes.
""".strip()


def settings_page() -> str:
    lines = ["# Settings", "", _INTRODUCTION, ""]
    components: Mapping[str, type[Any]] = {**COMPONENTS, "call": ClientSettings}
    for owner in reversed(AllSettings.__mro__):
        own = [field for field in fields(AllSettings) if field.name in get_annotations(owner)]
        own = [field for field in own if _owner(field.name) is owner]
        if own:
            lines += [f"## {_title(owner)}", "", *_table(own, components), ""]
    return "\n".join(lines)


def _owner(name: str) -> type[Any]:
    """The class in which a setting is described first; others change its default."""
    return next(each for each in reversed(AllSettings.__mro__) if name in get_annotations(each))


def _title(owner: type[Any]) -> str:
    return cleandoc(owner.__doc__ or owner.__name__).splitlines()[0].rstrip(".").split(". ")[0]


def _table(own: list[Field[Any]], components: Mapping[str, type[Any]]) -> Iterator[str]:
    yield "| setting | type | default | commands | meaning |"
    yield "|---|---|---|---|---|"
    for field in own:
        hint = get_type_hints(_owner(field.name), include_extras=True)[field.name]
        using = [name for name, each in components.items() if field.name in {found.name for found in fields(each)}]
        text = _help(hint)
        if field.name in SECRETS:
            text += f" Secret: `{ENV_PREFIX}{field.name.upper()}{FILE_SUFFIX}` may name a file with it."
        commands = "all" if len(using) == len(components) else ", ".join(using)
        cells = (f"`{field.name}`", _type(hint), _default(field, components), commands, text)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _help(hint: Any) -> str:
    found = [each.help for each in get_args(hint)[1:] if isinstance(each, Parameter) and each.help]
    return str(found[0]) if found else ""


def _type(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return _type(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(hint))
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return " or ".join("none" if each is type(None) else _type(each) for each in get_args(hint))
    names = {str: "text", int: "whole number", float: "number", bool: "switch", Path: "path"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _default(field: Field[Any], components: Mapping[str, type[Any]]) -> str:
    """The default; and those of other commands, where they differ."""
    by_value: dict[str, list[str]] = {}
    for name, each in components.items():
        for found in fields(each):
            if found.name == field.name and found.default is not MISSING:
                by_value.setdefault(_shown(found.default), []).append(name)
    if len(by_value) == 1:
        return next(iter(by_value))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
