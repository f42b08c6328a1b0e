"""`hub schema`: what models take and give back, what they took before, and whether a changed message could be deployed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import App, Group, Parameter

from hub.errors import ConfigurationError, InvalidName
from hub.settings.links import SchemaSettings
from hub.types import ModelName, model_name

schema = App(
    name="schema",
    help="Look at the contracts of models that the registry has accepted, compare them, and check a new one before it is "
    "deployed. Exit codes: 0 fine, 1 it breaks or could not log in, 2 bad arguments or no such model or contract, 3 the "
    "registry is out of reach.",
)

_SETTINGS = Group("Settings", sort_key=1)

Model = Annotated[str, Parameter(show_env_var=False, help="Name of the model.")]
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
Json = Annotated[
    bool,
    Parameter(
        name="--json", show_env_var=False, negative="", show_default=False, help="One JSON document, for programs."
    ),
]
Proto = Annotated[
    bool,
    Parameter(
        name="--proto", show_env_var=False, negative="", show_default=False, help="The text of the .proto files alone."
    ),
]
Settings = Annotated[SchemaSettings | None, Parameter(group=_SETTINGS)]


@schema.command(name="list")
def list_(*, json: Json = False, settings: Settings = None) -> int:
    """List every model that has ever logged in, with its present contract."""
    from hub.cli.schema.work import list_schemas, run_command  # noqa: PLC0415 - each command loads only what it runs

    settings = settings or SchemaSettings()
    return run_command(lambda registry: list_schemas(registry, json_wanted=json), settings)


@schema.command
def show(
    model: Model,
    /,
    *,
    fingerprint: Fingerprint = "",
    proto: Proto = False,
    json: Json = False,
    settings: Settings = None,
) -> int:
    """Show a contract of a model as .proto files, and all contracts that the model has had."""
    from hub.cli.schema.work import run_command, show_schema  # noqa: PLC0415

    if proto and json:
        raise ConfigurationError("--proto and --json are two forms of one answer: choose one")
    settings = settings or SchemaSettings()
    name = _name(model)
    return run_command(
        lambda registry: show_schema(registry, name, fingerprint, proto_wanted=proto, json_wanted=json), settings
    )


@schema.command
def diff(
    model: Model,
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
    from hub.cli.schema.work import diff_schemas, run_command  # noqa: PLC0415

    settings = settings or SchemaSettings()
    name = _name(model)
    return run_command(lambda registry: diff_schemas(registry, name, earlier, later, json_wanted=json), settings)


@schema.command
def check(target: Target, /, *, against: Against = "", json: Json = False, settings: Settings = None) -> int:
    """Ask the registry whether an instance of this model could log in beside those that are up. For build pipelines.

    Exit code 0 when it could (a model that is new could), 1 when not, with each difference and its rule.
    """
    from hub.cli.schema.work import check_model, run_command  # noqa: PLC0415

    settings = settings or SchemaSettings()
    if against:
        settings = replace(settings, registry_url=against)
    return run_command(lambda registry: check_model(registry, target, json_wanted=json), settings)


def _name(text: str) -> ModelName:
    try:
        return model_name(text)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from error
