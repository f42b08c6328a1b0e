"""Parameters that several commands have."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Group, Parameter

from hub.errors import ConfigurationError, InvalidName
from hub.types import ModelName, model_name

SETTINGS_GROUP: Final = Group("Settings", sort_key=1)

Json = Annotated[
    bool,
    Parameter(
        name="--json", show_env_var=False, negative="", show_default=False, help="One JSON document, for programs."
    ),
]
NameOfModel = Annotated[str, Parameter(show_env_var=False, help="Name of the model.")]


def parse_model_name(text: str) -> ModelName:
    """The name of a model on the command line.

    Raises:
        ConfigurationError: It is not a name of a model.
    """
    try:
        return model_name(text)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from error
