"""Makes the files of a new project from the templates beside this module."""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import Final, Literal, TypeAlias, final

from hub.cli.command import EXIT_OK, fail
from hub.errors import ConfigurationError

Variant: TypeAlias = Literal["unary", "stream", "batch"]

LONGEST_NAME: Final = 50
"""Characters of a name: with it and a suffix the names of messages, queues and files stay within their limits."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")

_TAKEN: Final = {
    "hub": "this is the name of hub itself",
    "tests": "the tests of the project are there",
    "protos": "the .proto files of the project are there",
    "google": "modules of protobuf are there",
    "buf": "modules of the rules of .proto files are there",
    "model": "its class would be hub's own Model",
    "sequence": "its class would hide collections.abc.Sequence",
    "async_iterator": "its class would hide collections.abc.AsyncIterator",
    "pytest": "the tests import another package of this name",
    "anyio": "hub imports another package of this name",
}
"""Names that a package of the project cannot have, with the reasons."""

_PLACES: Final = {
    "init.py": "{package}/__init__.py",
    "model.py": "{package}/model.py",
    "model.proto": "protos/{package}/v1/{package}.proto",
    "test_model.py": "tests/test_{package}.py",
    "ci.yml": ".github/workflows/ci.yml",
    "gitignore": ".gitignore",
    "dockerignore": ".dockerignore",
}
"""Template, without its suffix -> path in the project; other templates keep their names."""

_SUFFIX: Final = ".tmpl"


@final
class FileTemplate(Template):
    """`%%{name}` is replaced: dollar signs and braces belong to workflows, Dockerfiles and Python."""

    delimiter = "%%"


def create(name: str, variant: Variant, path: Path | None) -> int:
    """Writes the project and prints what to do next. Returns the exit code."""
    try:
        written = write_project(name, variant, path)
    except ConfigurationError as error:
        return fail(str(error), error.exit_code)
    folder = path or Path(name)
    for file in written:
        print(file)  # noqa: T201 - paths, which a terminal must not wrap
    enter = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    print(f"\nnext: {enter}hub proto build && pytest && hub up")  # noqa: T201
    return EXIT_OK


def write_project(name: str, variant: Variant, path: Path | None = None) -> list[Path]:
    """Writes the files of a project.

    Args:
        name: Lower-case letters, digits, `-` and `_`; the model is called by it in CamelCase.
        variant: What the model of the project does.
        path: Its folder, which must be empty or not exist; by default one called `name`, in the working directory.

    Returns:
        The paths of the files.

    Raises:
        ConfigurationError: The name cannot be that of a package, the folder has files, or they cannot be written.
    """
    package = checked_package(name)
    values = {
        "distribution": name,
        "package": package,
        "model": class_name(package),
        "hub": distribution_of_hub(),
    }
    folder = path or Path(name)
    texts = {folder / place: text for place, text in _rendered(variant, values)}
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigurationError(
                f"{folder} exists and is not an empty folder: choose another name, or another folder with --path"
            )
        for file, text in texts.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {error.filename or folder}: {error.strerror}; choose another folder with --path"
        ) from error
    return sorted(texts)


def checked_package(name: str) -> str:
    """The Python package for a name.

    Raises:
        ConfigurationError: There can be none.
    """
    proposed = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    proposed = re.sub(r"[^a-z0-9]+", "_", proposed).strip("_0123456789")[:LONGEST_NAME]
    if len(name) > LONGEST_NAME or _NAME.fullmatch(name) is None:
        hint = f", such as {proposed}" if _NAME.fullmatch(proposed) else ""
        raise ConfigurationError(
            f"{name!r} is no name of a project: begin with a letter, and use up to {LONGEST_NAME} lower-case letters, digits "
            f"and single '_' or '-'{hint}"
        )
    package = name.replace("-", "_")
    if iskeyword(package) or iskeyword(class_name(package)):
        reason = "it is a keyword of Python"
    elif package in sys.stdlib_module_names:
        reason = "it is a module of Python's standard library, which the package would hide"
    else:
        reason = _TAKEN.get(package, "")
    if reason:
        raise ConfigurationError(f"a project cannot be called {name!r}: {reason}; call it {package}_model, for example")
    return package


def class_name(package: str) -> str:
    """The name of the model: the package in CamelCase."""
    return "".join(part[:1].upper() + part[1:] for part in package.split("_"))


def distribution_of_hub() -> str:
    """The name under which pip installs hub: that of the distribution with the command `hub`."""
    commands = entry_points(group="console_scripts", name="hub")
    return next(
        (each.dist.name for each in commands if each.dist is not None and each.value.startswith("hub.cli.")), "hub"
    )


def _rendered(variant: Variant, values: dict[str, str]) -> list[tuple[str, str]]:
    """Paths in the project, with their texts."""
    template = files("hub.cli.new") / "template"
    found = [*_files(template / "common"), *_files(template / variant)]
    return [
        (
            _PLACES.get(name := each.name.removesuffix(_SUFFIX), name).format(**values),
            FileTemplate(each.read_text(encoding="utf-8")).substitute(values),
        )
        for each in found
    ]


def _files(folder: Traversable) -> list[Traversable]:
    return [each for each in folder.iterdir() if each.name.endswith(_SUFFIX)]
