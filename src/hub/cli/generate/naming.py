"""Names in a generated package: of modules, classes and files, from names that others have chosen."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from keyword import iskeyword
from typing import Final

from hub.errors import ConfigurationError
from hub.gateway.openapi.names import operation_suffixes

POOL_MODULE: Final = "_descriptors"
"""The module beside the messages that has their descriptor pool."""

MESSAGES: Final = "messages"
"""The folder of the modules of messages; those of other folders begin with it."""

_TAKEN: Final = frozenset({"buf", "google", "hub", "hub_serving", "protos", "tests"})
"""Packages that a generated one would hide."""

_OF_TEMPLATES: Final = frozenset(
    [
        "Any",
        "AnyRequest",
        "AsyncIterable",
        "BatchSubmission",
        "Callable",
        "FINGERPRINT",
        "Final",
        "Iterable",
        "Iterator",
        "JsonRequest",
        "MODEL",
        "MessageStream",
        "Request",
        "Response",
        "SyncBatchAnswer",
        "SyncMessageStream",
        "SyncTaskHandle",
        "TaskHandle",
        "TypeAlias",
        "annotations",
        "final",
        "hub",
    ]
)
"""Names in the module of a model that are not those of its class or its messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNames:
    """The names of one model.

    Attributes:
        module: Its module, and the attribute of `Models`.
        cls: Its class; the one without `await` has `Sync` before it.
    """

    module: str
    cls: str

    def imported(self, message: str) -> str:
        """The name of a top-level message in the module, which differs from its own if that has another meaning there."""
        clashes = message in _OF_TEMPLATES | {self.cls, f"Sync{self.cls}"} or iskeyword(message)
        return f"{message}Message" if clashes else message


def model_names(models: Iterable[str]) -> Mapping[str, ModelNames]:
    """The names of each model, by its own. They differ in more than case and underscores."""
    return {model: _names(suffix) for model, suffix in operation_suffixes(models).items()}


def _names(suffix: str) -> ModelNames:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", suffix)
    module = words.lower()
    if iskeyword(module) or module.startswith(MESSAGES):
        module += "_"
    cls = f"{suffix}Model" if iskeyword(suffix) or suffix in _OF_TEMPLATES else suffix
    return ModelNames(module=module, cls=cls)


def file_names(files: Iterable[str]) -> Mapping[str, str]:
    """For each name of a `.proto` file one that leads into no other folder and makes a module that can be imported."""
    taken = set[str]()
    found: dict[str, str] = {}
    for name in sorted(files):
        parts = [part for part in name.removesuffix(".proto").split("/") if part not in ("", ".", "..")] or ["file"]
        safe = "/".join([*map(_folder, parts[:-1]), _identifier(parts[-1])])
        if safe.lower() in taken:
            safe += f"_{sha256(name.encode()).hexdigest()[:6]}"
        taken.add(safe.lower())
        found[name] = f"{safe}.proto"
    return found


def _folder(part: str) -> str:
    found = _identifier(part)
    return f"{found}_" if iskeyword(found) or found == POOL_MODULE else found


def _identifier(part: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_]", "_", part)
    return f"_{found}" if found[0].isdigit() else found


def checked_package(name: str) -> None:
    """Raises `ConfigurationError` if there can be no package of this name."""
    if not (name.isascii() and name.isidentifier()) or iskeyword(name):
        reason = "use letters, digits and underscores, such as hub_models"
    elif name in sys.stdlib_module_names or name in _TAKEN:
        reason = "it would hide another package or folder of this name"
    else:
        return
    raise ConfigurationError(f"the package cannot be called {name!r}: {reason}; choose another --package")
