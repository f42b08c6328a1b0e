"""Finds the model class that `pkg.module:Class` names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from hub.errors import ConfigurationError
from hub.model import Model
from hub.model.model import require_process_request


def load_model(target: str) -> type[Model[Any, Any]]:
    """Imports a model class; modules in the working directory are found too, as with `python -m`.

    Raises:
        ConfigurationError: The text, the module or the class is not what it should be; says which.
    """
    module_name, colon, class_name = target.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigurationError(f"{target!r} names no model: write it as pkg.module:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"{module_name} needs {error.name}, which is not installed") from error
        raise ConfigurationError(
            f"there is no module {error.name}: run this in the folder that holds it, or install it"
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, Model):
        models = [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Model)]
        there = ", ".join(name for name in models if name != "Model") or "none"
        raise ConfigurationError(f"{module_name} has no model {class_name}; models in it: {there}")
    model: type[Model[Any, Any]] = found  # pyright: ignore[reportUnknownVariableType]  # isinstance cannot tell type arguments
    require_process_request(model)
    return model
