"""Loads the model class that `pkg.module:Class` names."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from types import ModuleType
from typing import Final

from hub.errors import ConfigurationError, HubError
from hub.model import Model
from hub.model.execution.error_text import error_summary, location_lines
from hub.model.model import AnyModel, require_process_request

_PACKAGE: Final = Path(__file__).parents[1] / "__init__.py"
_SAME_FILE: Final = re.compile(r"duplicate (?:file name|symbol) '?([^'\s)]+)")


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The name of a model, and a request as JSON to try it with."""

    name: str
    example: str


def summary_of(model: type[AnyModel]) -> ModelSummary:
    return ModelSummary(model.name, model.example_json())


def load_model(target: str) -> type[AnyModel]:
    """Imports a model class, also from the working directory, as `python -m` does.

    Raises:
        ConfigurationError: The text, the module or the class is invalid; the error has the repair, and the line of the
            author's code if the module itself fails.
    """
    module_name, colon, class_name = target.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigurationError(f"{target!r} does not name a model: write it as pkg.module:Class")
    if "," in target:
        raise ConfigurationError(f"{target!r} are several models: separate them by blanks: {target.replace(',', ' ')}")
    _check_path(target, module_name, class_name)
    here = Path.cwd()
    _check_shadow(here)
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    module = _import(module_name)
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, Model) or found is Model:
        raise _no_model(module, module_name, class_name)
    model: type[AnyModel] = found  # pyright: ignore[reportUnknownVariableType]  # isinstance cannot tell type arguments
    require_process_request(model)
    _check_init(target, model)
    return model


def _check_path(target: str, module: str, name: str) -> None:
    path = PurePath(module)
    if "/" not in module and "\\" not in module and path.suffix != ".py" and not module.startswith("."):
        return
    steps = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    folder = ""
    if path.is_absolute() or ".." in steps:
        steps, folder = steps[-1:], f", in the folder {path.parent}"
    right = ".".join(step.lstrip(".") for step in steps if step.strip("."))
    raise ConfigurationError(
        f"{target!r} names a file, but hub expects a module: write {right or 'pkg.module'}:{name} (without .py, a dot for "
        f"each slash){folder}"
    )


def _check_shadow(here: Path) -> None:
    """Refuses a module of the author's that is called `hub`: what is started in its folder would import it as hub itself."""
    for name in ("hub.py", "hub/__init__.py"):
        if (here / name).is_file() and not (here / name).samefile(_PACKAGE):
            raise ConfigurationError(
                f"{name} in this folder has the name of the package hub, so that Python programs which start here, such as "
                f"pytest, import it instead: rename {'it' if name == 'hub.py' else 'the folder'}"
            )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            needs = f"{name} needs {error.name}, which is not installed: install it, or correct the import"
            raise ConfigurationError("\n".join([needs, *location_lines(error)])) from error
        raise ConfigurationError(f"there is no module {error.name}: {_where(name)}") from error
    except HubError as error:
        raise ConfigurationError("\n".join([f"{name} cannot be imported: {error}", *location_lines(error)])) from error
    except ImportError as error:
        if "relative import" not in str(error):
            raise ConfigurationError(f"{name} cannot be imported: {error_summary(error)}") from error
        package = Path.cwd().name
        repair = f"run this in {Path.cwd().parent} and write {package}.{name}, or import without the leading dot"
        raise ConfigurationError(f"{name} cannot be imported: {error_summary(error)}\n{repair}") from error
    except (Exception, SystemExit) as error:
        text = f"{name} cannot be imported: {error_summary(error)}"
        repair = _repair(error)
        raise ConfigurationError(f"{text}\n{repair}" if repair else text) from error


def _no_model(module: ModuleType, module_name: str, class_name: str) -> ConfigurationError:
    """The module has no such class, or it is no model."""
    here = Path(f"{module_name.replace('.', '/')}.py")
    if _is_hidden(module, here):
        return ConfigurationError(
            f"the name {module_name} belongs to a package that is installed, which hides {here}: rename the file"
        )
    if class_name in vars(module):
        what = "a class, but not a model" if isinstance(vars(module)[class_name], type) else "not a class"
        return ConfigurationError(
            f"{module_name}:{class_name} is {what}: write `class {class_name}(hub.Model[Request, Response])`"
        )
    models = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Model) and value is not Model
    ]
    near = get_close_matches(class_name, models, n=1)
    hint = f"; did you mean {module_name}:{near[0]}?" if near else ""
    return ConfigurationError(
        f"{module_name} has no model {class_name}; models in it: {', '.join(models) or 'none'}{hint}"
    )


def _is_hidden(module: ModuleType, here: Path) -> bool:
    """Whether a file of the author has the name of a module that was imported from elsewhere."""
    return here.is_file() and Path(module.__file__ or "") != here.absolute()


def _where(name: str) -> str:
    """The repair for a module that is not found: where a file of this name is, at most one folder below."""
    path = PurePath(*name.split("."))
    if Path(f"{path}".replace("_", "-") + ".py").is_file():
        return f"rename {f'{path}'.replace('_', '-')}.py to {path}.py, since a module's name has no hyphen"
    try:
        folders = [each.parent for each in Path().glob(f"*/{path}.py")]
    except (OSError, ValueError, NotImplementedError):
        folders = []
    if folders:
        return f"it is in the folder {folders[0]}: run this there, or write {folders[0]}.{name}"
    return "run this in the folder that contains it, or install it"


def _repair(error: BaseException) -> str:
    """The repair of errors of protobuf that do not explain themselves; empty for all others."""
    text = str(error)
    same = _SAME_FILE.search(text)
    if same is not None or "Couldn't build proto file" in text:
        what = same[1] if same else "a name in it"
        return (
            f"two generated modules define {what}: protobuf identifies a .proto file by its path below the folder that it was "
            "generated from, so generate all of them from one root folder, each under a path and a package of its own"
        )
    if type(error).__name__ == "VersionError" and "protobuf" in type(error).__module__:
        return (
            "the code was generated for a newer protobuf than the one that is installed: upgrade it (pip install "
            "--upgrade protobuf), or generate the code anew with an older protoc"
        )
    return ""


def _check_init(target: str, model: type[AnyModel]) -> None:
    init = model.__init__
    try:
        inspect.signature(init).bind(None)
    except TypeError as error:
        code = getattr(init, "__code__", None)
        where = f"\n  in {code.co_filename}, line {code.co_firstlineno}" if code else ""
        raise ConfigurationError(
            f"{target} cannot be created: its __init__ needs arguments ({error}), and hub passes none: read the values from "
            f"the environment, or in setup{where}"
        ) from error
    except ValueError:
        pass  # written in C, without a signature
