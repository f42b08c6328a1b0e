"""How a command ends: what went wrong in a few lines for people, and an exit code for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Final

from rich.console import Console

from hub.cli.config import DEFAULT, sources_of_settings
from hub.errors import ConnectionLost, ConnectionRefused, HubError
from hub.observability.redaction import Redactor, redacted, redacted_url
from hub.settings.links import MEMORY
from hub.settings.process import ProcessSettings

EXIT_CODES: Final = (
    "0 fine, also after a signal; "
    "1 a crash, or a command that could not do all (`hub dead`, `hub schema`); "
    "2 bad arguments, settings or code of a model, or a server that refuses us: the same again until something is changed; "
    "3 a server could not be reached in time"
)

_ROLES: Final = {
    "broker_url": ("amqp", "broker", "queue "),
    "store_url": ("redis", "store"),
    "directory_url": ("redis", "directory"),
    "registry_url": ("registry", "login at the registry", "the registry"),
}
"""Setting -> how the texts begin by which errors name the server that it leads to."""


def fail(text: str, code: int, *, redact: Callable[[str], str] = redacted) -> int:
    """Prints why the command ends, and returns its exit code."""
    Console(stderr=True, soft_wrap=True).print(f"hub: {redact(text)}", markup=False, highlight=False)
    return code


def redactor(settings: ProcessSettings) -> Redactor:
    """Knows the secrets among the settings."""
    return Redactor(str(getattr(settings, each.name)) for each in fields(settings) if each.metadata.get("secret"))


def explain(error: HubError, settings: ProcessSettings, arguments: Sequence[str] | None = None) -> None:
    """Adds a note to an error of a link: the settings that may lead to its server, their values and sources.

    Args:
        error: What ends the process.
        settings: Those of the process.
        arguments: The command line; that of the process by default.
    """
    if not isinstance(error, ConnectionLost) or hasattr(error, "__notes__"):
        return
    found = sources_of_settings(sys.argv[1:] if arguments is None else arguments)
    repair = "" if isinstance(error, ConnectionRefused) else ": check that it runs and is reached there"
    for name, beginnings in _ROLES.items():
        url = getattr(settings, name, None)
        if url is not None and not url.startswith(MEMORY) and error.server.startswith(beginnings):
            error.add_note(f"HUB_{name.upper()}={redacted_url(url)} ({found.get(name, DEFAULT)}){repair}")


def explained(error: HubError, settings: ProcessSettings) -> str:
    """The text of an error with the notes of `explain`."""
    explain(error, settings)
    return "\n".join([str(error), *getattr(error, "__notes__", ())])
