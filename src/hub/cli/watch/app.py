"""`hub models`, `hub instances` and `hub top`: a table on a terminal, JSON elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Annotated, Final

from cyclopts import Parameter

from hub.cli.command import run_command
from hub.cli.parameters import SETTINGS_GROUP, Json, parse_model_name
from hub.errors import ConfigurationError
from hub.settings.connections import SchemaSettings
from hub.settings.tools import TopSettings

SHORTEST_PERIOD: Final = 0.1
"""Seconds: each reading is a request to a server."""

Settings = Annotated[SchemaSettings | None, Parameter(group=SETTINGS_GROUP)]
OnlyModel = Annotated[str, Parameter(show_env_var=False, show_default=False, help="Only instances of this model.")]


def models(*, json: Json = False, settings: Settings = None) -> int:
    """List the models that the registry knows, with their instances and queues. Piped: JSON.

    Exit codes: 0 success, 2 bad arguments or settings, 3 the registry is out of reach.
    """
    from hub.cli.watch.listing import print_models  # noqa: PLC0415 - each command loads only what it runs

    return _run(partial(print_models, json_wanted=json or not sys.stdout.isatty()), settings)


def instances(model: OnlyModel = "", /, *, json: Json = False, settings: Settings = None) -> int:
    """List the instances that the registry knows, with their state and work. Piped: JSON.

    Exit codes: 0 success, 2 bad arguments or settings, 3 the registry is out of reach.
    """
    from hub.cli.watch.listing import print_instances  # noqa: PLC0415

    name = parse_model_name(model) if model else None
    return _run(partial(print_instances, model=name, json_wanted=json or not sys.stdout.isatty()), settings)


def _run(command: Callable[..., Awaitable[int]], settings: Settings) -> int:
    from hub.cli.schema.commands import with_registry  # noqa: PLC0415

    settings = settings or SchemaSettings()
    return run_command(partial(with_registry, command, settings), settings, interrupted="interrupted")


Period = Annotated[float, Parameter(show_env_var=False, help="Seconds between two readings, from 0.1.")]
Count = Annotated[int, Parameter(show_env_var=False, help="End after so many readings; 0: go on until Ctrl-C.")]
OfTop = Annotated[TopSettings | None, Parameter(group=SETTINGS_GROUP)]


def top(*, period: Period = 2.0, count: Count = 0, json: Json = False, settings: OfTop = None) -> int:
    """Show models, queues, rates and instances, live. Piped: one JSON document a line for each reading.

    From the gateway that HUB_GATEWAY_URL names, or else from the registry. Exit codes: 0 success, also after Ctrl-C, 2 bad
    arguments or settings, 3 the server is out of reach.
    """
    from hub.cli.watch.top import show_top  # noqa: PLC0415

    if not (SHORTEST_PERIOD <= period < inf) or count < 0:
        raise ConfigurationError(
            f"--period is from {SHORTEST_PERIOD:g} s and --count from 0: {period:g} and {count} are not"
        )
    settings = settings or TopSettings()
    command = partial(show_top, settings, period=period, count=count, json_wanted=json or not sys.stdout.isatty())
    return run_command(command, settings, interrupted=None)
