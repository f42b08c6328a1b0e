"""Changes of the files of models: which folders are watched, and what is built before a reload."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from anyio import run_process
from typing_extensions import override
from watchfiles import Change, DefaultFilter, awatch

from hub.concurrency.notify import Notifier

PROTOS: Final = Path("protos")
"""The folder that `hub proto build` takes by default."""

SUFFIXES: Final = (".py", ".proto")
"""Files whose change restarts the models."""

CLOCK_STEP: Final = 10_000_000
"""Nanoseconds by which the time of a change may lie before the clock: the kernel's clock of files ticks every 4 ms."""


def watched_folders(targets: Sequence[str]) -> Sequence[Path]:
    """The folders of the top-level packages of the models, the folders of their plain modules, and `protos`.

    Nothing is imported. A package that does not exist has no folder.
    """
    here = str(Path.cwd())
    found: dict[Path, None] = {}
    for target in targets:
        package = target.partition(":")[0].partition(".")[0]
        spec = PathFinder.find_spec(package, [here, *sys.path])
        if spec is None:
            continue
        places = spec.submodule_search_locations or ([str(Path(spec.origin).parent)] if spec.origin else [])
        found.update(dict.fromkeys(Path(place).resolve() for place in places))
    if PROTOS.is_dir():
        found[PROTOS.resolve()] = None
    return [folder for folder in found if not any(folder != other and folder.is_relative_to(other) for other in found)]


class ChangedFiles:
    """The files that have changed since the last `forget`, as `watch` finds them."""

    def __init__(self) -> None:
        self.notifier = Notifier()
        self._paths: set[Path] = set()

    def since(self, moment: int) -> Collection[Path]:
        """Those that were changed after a time in nanoseconds, or are gone.

        What a build wrote before the process of the models began is forgotten.
        """
        self._paths = {
            path for path in self._paths if not path.exists() or path.stat().st_mtime_ns > moment - CLOCK_STEP
        }
        return self._paths

    def forget(self) -> None:
        self._paths = set()

    async def watch(self, folders: Sequence[Path]) -> None:
        """Watches until it is cancelled. Changes within 50 ms are one; hidden folders and virtual environments are left out."""

        class Sources(DefaultFilter):
            @override
            def __call__(self, change: Change, path: str) -> bool:
                return path.endswith(SUFFIXES) and super().__call__(change, path)

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs the number of changed files
        async for changes in awatch(*folders, watch_filter=Sources()):
            self._paths.update(Path(path) for _, path in changes)
            self.notifier.notify()


async def build_protos(paths: Collection[Path]) -> str:
    """Runs `hub proto build` if one of the files is a `.proto` below `protos`; returns its errors, empty if there are none."""
    root = PROTOS.resolve()
    if not any(path.suffix == ".proto" and path.is_relative_to(root) for path in paths):
        return ""
    done = await run_process([sys.executable, "-P", "-m", "hub", "proto", "build"], check=False)
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
