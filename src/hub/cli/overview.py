"""All commands, with the places of their code, which is imported when one of them runs; and the text of `hub --help`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Final

EXIT_CODES: Final = (
    "0 success, also after a signal; "
    "1 a crash, a task that failed (`hub call`, `hub task`, `hub stream`, `hub batch`, `hub bench`), or a command that could not do "
    "everything (`hub dead`, `hub schema`), found errors in files (`hub proto`), a problem (`hub doctor`) or a difference (`hub client`); "
    "2 invalid arguments, settings or code of a model, or a server that refuses the connection: a retry fails in the same "
    "way until something is changed; "
    "3 a server could not be reached in time"
)

SUMMARY: Final = "A hub of models: queueing, results, a registry and one live API page for every model that is up."

EPILOGUE: Final = (
    "Each option can also be given in the environment (--ping-period as HUB_PING_PERIOD) or in hub.toml (as ping_period), "
    "or the file that HUB_CONFIG names. The command line wins over the environment, the environment over the file. "
    f"Exit codes: {EXIT_CODES}."
)

WIDEST: Final = 120
"""Columns of the help at most: longer lines are hard to read."""

_GAP: Final = "  "
_LONGEST: Final = 12
"""Characters of a name that is in one line with its text."""

_OPTIONS: Final = "Options"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command.

    Attributes:
        name: As on the command line.
        place: `module:attribute` of its function, or of the `App` with its subcommands.
        summary: The first line of its own help.
    """

    name: str
    place: str
    summary: str


GROUPS: Final[Mapping[str, Sequence[CommandEntry]]] = {
    "Run": (
        CommandEntry("up", "hub.cli.components:up", "Run registry, gateway, dashboard and models in this one process."),
        CommandEntry(
            "registry",
            "hub.cli.components:registry",
            "Run the registry: it stores the instances, pings them, and lists the live models.",
        ),
        CommandEntry("gateway", "hub.cli.components:gateway", "Run the gateway: the HTTP API of every live model."),
        CommandEntry(
            "model",
            "hub.cli.components:model",
            "Run one instance of a model: it receives tasks from the model's queue and stores their outcomes.",
        ),
    ),
    "Write models": (
        CommandEntry(
            "new",
            "hub.cli.new.app:new",
            "Make a working project for a model of your own: .proto, model, test, settings, Dockerfile, CI.",
        ),
        CommandEntry("proto", "hub.cli.proto.app:proto", "Make Python modules of .proto files, and check these."),
        CommandEntry(
            "schema",
            "hub.cli.schema.app:schema",
            "List the contracts of models that the registry has accepted, compare them, and check a new one before it is "
            "deployed.",
        ),
    ),
    "Call models": (
        CommandEntry(
            "call", "hub.cli.client.app:call", "Call a model, wait, and print its response. Ctrl-C cancels the task."
        ),
        CommandEntry("submit", "hub.cli.client.app:submit", "Submit a task and print its id."),
        CommandEntry("task", "hub.cli.client.app:task", "Show a task, with its result."),
        CommandEntry("cancel", "hub.cli.client.app:cancel", "Cancel a task."),
        CommandEntry(
            "stream",
            "hub.cli.client.app:stream",
            "Call a streaming model and print each chunk as it comes. Ctrl-C cancels the task.",
        ),
        CommandEntry(
            "batch",
            "hub.cli.client.app:batch",
            "Submit each line of a file, and write a line with the outcome for each, in order.",
        ),
        CommandEntry(
            "bench",
            "hub.cli.client.app:bench",
            "Call a model for some seconds and print rates and latencies by outcome. Piped: JSON.",
        ),
        CommandEntry("client", "hub.cli.generate.app:client", "Make code that calls the models behind a gateway."),
    ),
    "Watch and repair": (
        CommandEntry(
            "models",
            "hub.cli.watch.app:models",
            "List the models that the registry knows, with their instances and queues.",
        ),
        CommandEntry(
            "instances",
            "hub.cli.watch.app:instances",
            "List the instances that the registry knows, with their state and work.",
        ),
        CommandEntry("top", "hub.cli.watch.app:top", "Show models, queues, rates and instances, live."),
        CommandEntry(
            "doctor",
            "hub.cli.doctor.app:doctor",
            "Check broker, store, registry, gateway, clocks, ports and settings; each problem is printed with its repair.",
        ),
        CommandEntry(
            "dead",
            "hub.cli.dead.app:dead",
            "List dead letters (messages that could not be processed), show, replay or drop them.",
        ),
        CommandEntry("config", "hub.cli.show:config", "Show the settings."),
    ),
    _OPTIONS: (
        CommandEntry(
            "--install-completion",
            "hub.cli.completion:install_completion",
            "Install completion of commands and options for your shell.",
        ),
    ),
}
"""The commands as `hub --help` lists them."""

COMMANDS: Final = tuple(entry for entries in GROUPS.values() for entry in entries)


def root_help(columns: int | None = None, *, bold: bool | None = None) -> str:
    """The text of `hub --help`.

    Args:
        columns: Width; by default that of the terminal, `WIDEST` at most.
        bold: Whether headings are bold; by default on a terminal, unless `NO_COLOR` is set.
    """
    width = min(columns or shutil.get_terminal_size().columns, WIDEST)
    chosen = sys.stdout.isatty() and not os.environ.get("NO_COLOR") if bold is None else bold
    return "\n".join(_lines(width, bold=chosen)) + "\n"


def _lines(width: int, *, bold: bool) -> Iterator[str]:
    def heading(text: str) -> str:
        return f"{_BOLD}{text}{_PLAIN}" if bold else text

    rows = {title: [(entry.name, entry.summary) for entry in entries] for title, entries in GROUPS.items()}
    rows[_OPTIONS] += [("-h, --help", "Show this text."), ("--version", "Show the version.")]
    names = [name for entries in rows.values() for name, _ in entries]
    column = len(_GAP) * 2 + max(len(name) for name in names if len(name) <= _LONGEST)
    yield f"{heading('Usage:')} hub COMMAND"
    yield ""
    yield from wrap(SUMMARY, width)
    for title, entries in rows.items():
        yield ""
        yield heading(title)
        for name, summary in entries:
            begin = f"{_GAP}{name}{_GAP}".ljust(column)
            if len(begin) > column:
                yield begin.rstrip()
                begin = " " * column
            yield from wrap(summary, width, initial_indent=begin, subsequent_indent=" " * column)
    yield ""
    yield from wrap("`hub COMMAND --help` shows the arguments and settings of a command. " + EPILOGUE, width)
