"""`hub dead`: what operators do with messages that were given up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from hub.errors import ConfigurationError, InvalidName
from hub.settings.links import DeadSettings, require_shared
from hub.types import ModelName, model_name

MOST: Final = 10_000
"""Letters that one command looks at. They are all in memory."""

dead = App(
    name="dead",
    help="Look at messages that were given up (dead letters), replay or drop them. "
    "Exit codes: 0 done, 1 some could not be done, 2 bad arguments, 3 a server is out of reach.",
)

_SETTINGS = Group("Settings", sort_key=1)

Model = Annotated[str, Parameter(show_env_var=False, help="Name of the model.")]
ModelOrAll = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Name of the model; without it, the counts of every model that the registry knows.",
    ),
]
Name = Annotated[str, Parameter(show_env_var=False, help="Id of the task, or of a message that is no task.")]
Names = Annotated[str, Parameter(show_env_var=False, help="Ids of tasks, or of messages that are no tasks.")]
Every = Annotated[
    bool,
    Parameter(name="--all", show_env_var=False, negative="", show_default=False, help="All dead letters of the model."),
]
Limit = Annotated[
    int,
    Parameter(show_env_var=False, validator=Number(gte=1, lte=MOST), help="Look at this many letters, oldest first."),
]
Code = Annotated[
    str,
    Parameter(show_env_var=False, show_default=False, help="Only letters that died of this, such as wrong_contract."),
]
Json = Annotated[
    bool,
    Parameter(
        name="--json", show_env_var=False, negative="", show_default=False, help="One JSON document, for programs."
    ),
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
        help="Also tasks whose record says queued: after a replay that was killed half-way. They may run twice.",
    ),
]
Yes = Annotated[bool, Parameter(show_env_var=False, negative="", show_default=False, help="Do not ask.")]
Settings = Annotated[DeadSettings | None, Parameter(group=_SETTINGS)]


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

    Tasks that the broker itself has given up get their outcome (state dead) by this, so that their clients learn of it.
    """
    from hub.cli.dead.session import run_command  # noqa: PLC0415 - each command loads only what it runs
    from hub.cli.dead.work import list_letters, list_models  # noqa: PLC0415

    settings = _checked(settings)
    if not model:
        return run_command(lambda: list_models(settings, json_wanted=json), settings)
    name = _name(model)
    return run_command(lambda: list_letters(name, settings, limit=limit, code=code, json_wanted=json), settings)


@dead.command
def show(model: Model, task: Name, /, *, limit: Limit = 1000, json: Json = False, settings: Settings = None) -> int:
    """Show everything about one dead letter: why it died, its headers, its request as JSON."""
    from hub.cli.dead.session import run_command  # noqa: PLC0415
    from hub.cli.dead.work import show_letters  # noqa: PLC0415

    settings = _checked(settings)
    name = _name(model)
    return run_command(lambda: show_letters(name, task, settings, limit=limit, json_wanted=json), settings)


@dead.command
def replay(
    model: Model,
    /,
    *tasks: Names,
    every: Every = False,
    limit: Limit = 1000,
    code: Code = "",
    keep_deadline: KeepDeadline = False,
    again: Again = False,
    settings: Settings = None,
) -> int:
    """Put tasks back on their queue, with all their attempts before them, and remove their dead letters."""
    from hub.cli.dead.session import run_command  # noqa: PLC0415
    from hub.cli.dead.work import replay_letters  # noqa: PLC0415

    settings = _checked(settings)
    name = _name(model)
    _require_choice(tasks, every=every, verb="replay", model=name)
    return run_command(
        lambda: replay_letters(name, tasks, settings, limit=limit, code=code, keep_deadline=keep_deadline, again=again),
        settings,
    )


@dead.command
def drop(
    model: Model,
    /,
    *tasks: Names,
    every: Every = False,
    limit: Limit = 1000,
    code: Code = "",
    yes: Yes = False,
    settings: Settings = None,
) -> int:
    """Remove dead letters for good. Their tasks stay dead."""
    from hub.cli.dead.session import run_command  # noqa: PLC0415
    from hub.cli.dead.work import drop_letters  # noqa: PLC0415

    settings = _checked(settings)
    name = _name(model)
    _require_choice(tasks, every=every, verb="drop", model=name)
    if not yes and not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked, because standard input is no terminal: say --yes if you are sure"
        )
    return run_command(lambda: drop_letters(name, tasks, settings, limit=limit, code=code, sure=yes), settings)


def _checked(settings: DeadSettings | None) -> DeadSettings:
    settings = settings or DeadSettings()
    require_shared(settings)
    return settings


def _name(text: str) -> ModelName:
    try:
        return model_name(text)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from error


def _require_choice(tasks: Sequence[str], *, every: bool, verb: str, model: str) -> None:
    if bool(tasks) == every:
        what = "both tasks and --all are given" if every else "no task is given"
        raise ConfigurationError(
            f"{what}: name the tasks (`hub dead list {model}` shows them), or say `hub dead {verb} {model} --all`"
        )
