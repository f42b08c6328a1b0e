"""The origin of the code of a frame: the author of a model, a library, or hub."""

from __future__ import annotations

import sysconfig
from enum import Enum, auto
from functools import lru_cache
from pathlib import PurePath
from types import FrameType, TracebackType
from typing import Final
from weakref import WeakKeyDictionary


class Origin(Enum):
    """`OURS` is hub and the packages that run it: event loops, servers, logging. `LIBRARY` is any other installed package."""

    AUTHOR = auto()
    LIBRARY = auto()
    OURS = auto()


_OURS: Final = frozenset(
    {
        *("hub", "anyio", "trio", "asyncio", "uvloop", "outcome", "sniffio", "concurrent", "threading", "selectors"),
        *("litestar", "structlog", "logging", "opentelemetry", "cyclopts"),
        *("contextlib", "importlib", "runpy"),
    }
)
"""Top-level modules whose frames are irrelevant for a failure of a model."""

_STANDARD: Final = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen ")
_SITES: Final = frozenset({"site-packages", "dist-packages"})

_authors: set[str] = set()
_models: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def add_author(module: str) -> None:
    """Declares that the top-level package of a module is an author's code, even if it is installed as a library."""
    package = module.partition(".")[0]
    if package not in _authors and package != "hub":
        _authors.add(package)
        _origin.cache_clear()


def origin_of(frame: FrameType) -> Origin:
    """The origin of the frame's code. Takes less than a microsecond for a known file."""
    return _origin(module_of(frame), frame.f_code.co_filename)


def without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame on that is not hub's; the whole one if there is none."""
    rest = trace
    while rest is not None and origin_of(rest.tb_frame) is Origin.OURS:
        rest = rest.tb_next
    return rest or trace


def module_of(frame: FrameType) -> str:
    """The full name of the module of the frame's code; empty for code without one."""
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


@lru_cache(maxsize=4096)
def _origin(module: str, file: str) -> Origin:
    package = module.partition(".")[0]
    if package in _authors:
        return Origin.AUTHOR
    standard = file.startswith(_STANDARD)
    installed = not _SITES.isdisjoint(PurePath(file).parts)
    if package == "hub" or (package in _OURS and (standard or installed)):
        return Origin.OURS
    return Origin.LIBRARY if standard or installed else Origin.AUTHOR


def add_model(kind: type, name: str) -> None:
    """Declares that this process runs a model of this class, whose code is an author's."""
    add_author(kind.__module__)
    _models[kind] = name


def model_of(frame: FrameType) -> str:
    """The name of the model whose method the frame runs, or whose package contains its code; empty if that is ambiguous."""
    module, function = module_of(frame), frame.f_code.co_qualname
    running = list(_models.items())
    names = {name for kind, name in running if any(_is_within(module, function, each) for each in kind.__mro__)}
    if not names:
        package = module.partition(".")[0]
        names = {name for kind, name in running if kind.__module__.partition(".")[0] == package}
    return names.pop() if len(names) == 1 else ""


def _is_within(module: str, function: str, kind: type) -> bool:
    return module == kind.__module__ and function.startswith(f"{kind.__qualname__}.")
