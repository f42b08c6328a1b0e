"""The frame of all commands: an error becomes a few lines on stderr, and an exit code for programs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from typing import Final

from rich.console import Console

from hub.cli.config import DEFAULT, sources_of_settings
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.process import run_process
from hub.errors import ConnectionLost, ConnectionRefused, HubError
from hub.observability.logs import configure_logging
from hub.observability.redaction import Redactor, redacted, redacted_url
from hub.settings.connections import MEMORY
from hub.settings.process import ProcessSettings

EXIT_OK: Final = 0
EXIT_PARTIAL: Final = 1
EXIT_INCOMPATIBLE: Final = 1
EXIT_NOT_FOUND: Final = 2

EXIT_CODES: Final = (
    "0 success, also after a signal; "
    "1 a crash, a task that failed (`hub call`, `hub task`, `hub stream`, `hub batch`, `hub bench`), or a command that could not do "
    "everything (`hub dead`, `hub schema`), found errors in files (`hub proto`) or a problem (`hub doctor`); "
    "2 invalid arguments, settings or code of a model, or a server that refuses the connection: a retry fails in the same "
    "way until something is changed; "
    "3 a server could not be reached in time"
)

_ROLES: Final = {
    "broker_url": ("amqp", "broker", "queue "),
    "store_url": ("redis", "store"),
    "directory_url": ("redis", "directory"),
    "gateway_url": ("gateway",),
    "registry_url": ("registry", "login at the registry", "the registry"),
}
"""Setting -> prefixes of the server names in errors of the server that it leads to."""


def run_command(command: Callable[[], Awaitable[int]], settings: ProcessSettings, *, interrupted: str | None) -> int:
    """Runs a command that ends by itself as the whole process.

    Args:
        command: Returns the exit code. A `HubError`, alone in any exception group, is printed with its repair.
        settings: Those of the command.
        interrupted: The line that is printed when a signal ended the command; the exit code is `EXIT_PARTIAL` then. `None` if a
            signal is its usual end: nothing is printed, and the exit code is `EXIT_OK`.

    Returns:
        The exit code: that of the command or of the `HubError`, or 1 after a crash, whose traceback is logged.
    """
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    code: int | None = None

    async def run() -> None:
        nonlocal code
        try:
            with collapse_exception_group():
                code = await command()
        except HubError as error:
            explain(error, settings)
            text = "\n".join([str(error), *getattr(error, "__notes__", ())])
            code = fail(text, error.exit_code, redact=redactor(settings))

    crashed = run_process(run, backend=settings.backend)
    if not crashed and code is None and interrupted is not None:
        return fail(interrupted, EXIT_PARTIAL)
    return crashed or code or EXIT_OK


def fail(text: str, code: int, *, redact: Callable[[str], str] = redacted) -> int:
    """Prints the reason for the end of a command on stderr, and returns its exit code."""
    Console(stderr=True, soft_wrap=True).print(f"hub: {redact(text)}", markup=False, highlight=False)
    return code


def redactor(settings: ProcessSettings) -> Callable[[str], str]:
    """A function that hides the secrets of the settings in a text."""
    secrets = (str(getattr(settings, each.name)) for each in fields(settings) if each.metadata.get("secret"))
    return Redactor(secrets).redact


def explain(error: HubError, settings: ProcessSettings, arguments: Sequence[str] | None = None) -> None:
    """Adds a note to a `ConnectionLost`: the settings that may lead to its server, with their values and sources.

    Args:
        error: The error that ends the process.
        settings: Those of the process.
        arguments: The command line; that of the process by default.
    """
    if not isinstance(error, ConnectionLost) or hasattr(error, "__notes__"):
        return
    found = sources_of_settings(sys.argv[1:] if arguments is None else arguments)
    repair = "" if isinstance(error, ConnectionRefused) else ": check that it runs and is reached there"
    for name, prefixes in _ROLES.items():
        url = getattr(settings, name, None)
        if url is not None and not url.startswith(MEMORY) and error.server.startswith(prefixes):
            error.add_note(f"HUB_{name.upper()}={redacted_url(url)} ({found.get(name, DEFAULT)}){repair}")
