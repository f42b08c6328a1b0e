"""What is wrong with a command line, with the repair: the texts of cyclopts, and what it cannot know of hub."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from cyclopts import CycloptsError
from cyclopts.exceptions import CoercionError, UnknownOptionError, UnusedCliTokensError

from hub.cli.config import COMPONENTS, ENV_PREFIX

_NUMBERS: Final = {
    float: "write a number, such as 2.5; times are in seconds",
    int: "write a whole number",
    bool: "write true or false",
}


def usage_error(error: CycloptsError) -> str:
    """The text of an error, in one line."""
    text = " ".join(str(error).split())
    match error:
        case UnknownOptionError():
            return _unknown_option(text, (error.token.keyword or error.token.value).partition("=")[0], error)
        case UnusedCliTokensError():
            command = _command(error)
            extra = " ".join(error.unused_tokens or ())
            return f"`{command}` does not take {extra!r}; `{command} --help` shows its arguments"
        case CoercionError() if error.target_type in _NUMBERS:
            return f"{text.rstrip('.')}: {_NUMBERS[error.target_type]}"
        case _:
            return text


def _command(error: CycloptsError) -> str:
    return " ".join(("hub", *(each for each in error.command_chain or () if each != "hub")))


def _unknown_option(text: str, option: str, error: CycloptsError) -> str:
    """Names the commands that have an option which this one has not, instead of the most similar option."""
    name = option.removeprefix("--").removeprefix("no-").replace("-", "_")
    having = [command for command, kind in COMPONENTS.items() if name in {each.name for each in fields(kind)}]
    having = [command for command in having if command != "doctor"] or having  # which has all of them
    if having:
        where = ", ".join(f"`hub {command}`" for command in having)
        return f"`{_command(error)}` has no option {option}: it is one of {where} ({ENV_PREFIX}{name.upper()})"
    return text if "Did you mean" in text else f"{text} `{_command(error)} --help` lists the options"
