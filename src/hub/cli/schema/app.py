"""`hub schema`: the command line for contracts of models, their history and their compatibility."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from hub.cli.command import run_command
from hub.cli.parameters import SETTINGS_GROUP, Json, NameOfModel, parse_model_name
from hub.errors import ConfigurationError
from hub.settings.connections import SchemaSettings

schema = App(
    name="schema",
    help="List the contracts of models that the registry has accepted, compare them, and check a new one before it is "
    "deployed. Exit codes: 0 success, 1 incompatible, 2 bad arguments or no such model or contract, 3 the "
    "registry is out of reach.",
)

Fingerprint = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="Fingerprint of a contract of the model, or its first 8 digits or more; by default the present one.",
    ),
]
Earlier = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="The earlier contract: a fingerprint, or its first 8 digits or more; by default the one accepted before "
        "LATER, or the present one if that is a class.",
    ),
]
Later = Annotated[
    str,
    Parameter(
        show_env_var=False,
        show_default=False,
        help="The later contract: a fingerprint, or a model class here, as pkg.module:Class; by default the present one.",
    ),
]
Target = Annotated[str, Parameter(show_env_var=False, help="The model to check, as pkg.module:Class.")]
Against = Annotated[
    str,
    Parameter(
        show_env_var=False, show_default=False, help="URL of the registry to ask; another way to say --registry-url."
    ),
]
Proto = Annotated[
    bool,
    Parameter(
        name="--proto", show_env_var=False, negative="", show_default=False, help="The text of the .proto files alone."
    ),
]
Settings = Annotated[SchemaSettings | None, Parameter(group=SETTINGS_GROUP)]


@schema.command(name="list")
def list_(*, json: Json = False, settings: Settings = None) -> int:
    """List every model that has ever logged in, with its present contract."""
    from hub.cli.schema.commands import list_schemas  # noqa: PLC0415 - each command loads only what it runs

    return _run(partial(list_schemas, json_wanted=json), settings)


@schema.command
def show(
    model: NameOfModel,
    /,
    *,
    fingerprint: Fingerprint = "",
    proto: Proto = False,
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Show a contract of a model as .proto files, and all contracts that the model has had."""
    from hub.cli.schema.commands import show_schema  # noqa: PLC0415

    if proto and json:
        raise ConfigurationError("--proto and --json exclude each other: choose one")
    name = parse_model_name(model)
    return _run(partial(show_schema, model=name, beginning=fingerprint, proto_wanted=proto, json_wanted=json), settings)


@schema.command
def diff(
    model: NameOfModel,
    earlier: Earlier = "",
    later: Later = "",
    /,
    *,
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Compare two contracts of a model, or one with a model class here. Each difference has the rule that it breaks.

    Exit code 1 when at least one of them breaks (rules: Buf's category WIRE_JSON).
    """
    from hub.cli.schema.commands import diff_schemas  # noqa: PLC0415

    name = parse_model_name(model)
    return _run(partial(diff_schemas, model=name, earlier=earlier, later=later, json_wanted=json), settings)


@schema.command
def check(target: Target, /, *, against: Against = "", json: Json = False, settings: Settings = None) -> int:
    """Ask the registry whether an instance of this model could log in beside those that are up. For build pipelines.

    Exit code 0 if it could (as a new model could), 1 if not, with each difference and its rule.
    """
    from hub.cli.schema.commands import check_model  # noqa: PLC0415

    settings = settings or SchemaSettings()
    if against:
        settings = replace(settings, registry_url=against)
    return _run(partial(check_model, target=target, json_wanted=json), settings)


def _run(command: Callable[..., Awaitable[int]], settings: SchemaSettings | None) -> int:
    from hub.cli.schema.commands import with_registry  # noqa: PLC0415

    settings = settings or SchemaSettings()
    return run_command(partial(with_registry, command, settings), settings, interrupted="interrupted")
