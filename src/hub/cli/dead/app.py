"""`hub dead`: the command line for dead letters."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from hub.cli.command import run_command
from hub.cli.parameters import SETTINGS_GROUP, Json, NameOfModel, parse_model_name
from hub.errors import ConfigurationError
from hub.settings.connections import DeadSettings, require_shared

MOST: Final = 10_000
"""Letters that one command reads. They are all in memory."""

_INTERRUPTED: Final = "interrupted; dead letters that were not reported are unchanged"

dead = App(
    name="dead",
    help="List dead letters (messages that could not be processed), show, replay or drop them. "
    "Exit codes: 0 success, 1 some letters were left, 2 bad arguments, 3 a server is out of reach.",
)

ModelOrAll = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Name of the model; without it, the counts of every model that the registry knows.",
    ),
]
Name = Annotated[str, Parameter(show_env_var=False, help="Id of the task, or of a message that is not a task.")]
Names = Annotated[str, Parameter(show_env_var=False, help="Ids of tasks, or of messages that are not tasks.")]
Every = Annotated[
    bool,
    Parameter(name="--all", show_env_var=False, negative="", show_default=False, help="All dead letters of the model."),
]
Limit = Annotated[
    int,
    Parameter(show_env_var=False, validator=Number(gte=1, lte=MOST), help="Read this many letters, oldest first."),
]
Code = Annotated[
    str,
    Parameter(show_env_var=False, show_default=False, help="Only letters with this code, such as wrong_contract."),
]
KeepDeadline = Annotated[
    bool,
    Parameter(
        show_env_var=False, negative="", show_default=False, help="Keep deadlines; by default replayed tasks have none."
    ),
]
Again = Annotated[
    bool,
    Parameter(
        show_env_var=False,
        negative="",
        show_default=False,
        help="Also tasks whose record is queued, after a replay that was killed half-way. They may run twice.",
    ),
]
Yes = Annotated[
    bool, Parameter(show_env_var=False, negative="", show_default=False, help="Do not ask for confirmation.")
]
Settings = Annotated[DeadSettings | None, Parameter(group=SETTINGS_GROUP)]


@dead.command(name="list")
def list_(
    model: ModelOrAll = "",
    /,
    *,
    limit: Limit = 50,
    code: Code = "",
    json: Json = False,
    settings: Settings = None,
) -> int:
    """List the dead letters of a model, oldest first, with the present state of their tasks.

    Stores the outcome (state dead) of tasks that the broker itself has dead-lettered, so that their clients receive it.
    """
    from hub.cli.dead.commands import list_letters, list_models  # noqa: PLC0415 - each command loads only what it runs

    if not model:
        return _run(partial(list_models, json_wanted=json), settings)
    name = parse_model_name(model)
    return _run(partial(list_letters, name, limit=limit, code=code, json_wanted=json), settings)


@dead.command
def show(
    model: NameOfModel, task: Name, /, *, limit: Limit = 1000, json: Json = False, settings: Settings = None
) -> int:
    """Show everything about one dead letter: its reason, its headers, its request as JSON."""
    from hub.cli.dead.commands import show_letters  # noqa: PLC0415

    name = parse_model_name(model)
    return _run(partial(show_letters, name, task, limit=limit, json_wanted=json), settings)


@dead.command
def replay(
    model: NameOfModel,
    /,
    *tasks: Names,
    every: Every = False,
    limit: Limit = 1000,
    code: Code = "",
    keep_deadline: KeepDeadline = False,
    again: Again = False,
    settings: Settings = None,
) -> int:
    """Put tasks back on their queue, with a new count of attempts, and remove their dead letters."""
    from hub.cli.dead.commands import replay_letters  # noqa: PLC0415

    name = parse_model_name(model)
    _require_choice(tasks, every=every, verb="replay", model=name)
    return _run(
        partial(replay_letters, name, tasks, limit=limit, code=code, keep_deadline=keep_deadline, again=again), settings
    )


@dead.command
def drop(
    model: NameOfModel,
    /,
    *tasks: Names,
    every: Every = False,
    limit: Limit = 1000,
    code: Code = "",
    yes: Yes = False,
    settings: Settings = None,
) -> int:
    """Remove dead letters permanently. Their tasks stay dead."""
    from hub.cli.dead.commands import drop_letters  # noqa: PLC0415

    name = parse_model_name(model)
    _require_choice(tasks, every=every, verb="drop", model=name)
    if not yes and not sys.stdin.isatty():
        raise ConfigurationError(
            "standard input is not a terminal, so there is no confirmation: use --yes to drop without one"
        )
    return _run(partial(drop_letters, name, tasks, limit=limit, code=code, sure=yes), settings)


def _run(command: Callable[..., Awaitable[int]], settings: DeadSettings | None) -> int:
    settings = settings or DeadSettings()
    require_shared(settings)
    return run_command(partial(command, settings=settings), settings, interrupted=_INTERRUPTED)


def _require_choice(tasks: Sequence[str], *, every: bool, verb: str, model: str) -> None:
    if bool(tasks) == every:
        what = "both tasks and --all are given" if every else "no task is given"
        raise ConfigurationError(
            f"{what}: name the tasks (`hub dead list {model}` shows them), or say `hub dead {verb} {model} --all`"
        )
