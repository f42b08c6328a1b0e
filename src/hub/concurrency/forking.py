"""What a process that was forked off one of hub's must not keep, and where it must not go.

A model may fork: `multiprocessing` with the `fork` method, the workers of a data loader, `os.fork`. The child is a copy
of the whole process, signal handlers and open connections included, but only the forking thread runs in it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

_cleanups: Final[list[Callable[[], None]]] = []
_generation = 0


def generation() -> int:
    """How many forks lie between the first process and this one. Code that sees it change has come out in a child."""
    return _generation


@contextmanager
def cleaned_up_in_children(cleanup: Callable[[], None]) -> Generator[None]:
    """Calls `cleanup` in each child that is forked off while the block runs, before anything else runs there.

    It must not block, take locks, or raise.
    """
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


def leave_child(error: BaseException | None) -> NoReturn:
    """Ends a forked child as Python ends a program, but for what it inherited: no event loop of ours goes on in it.

    Args:
        error: What ended the code that forked, if it did not return. `SystemExit` gives the exit code, as in a program.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or without a reader: no reason to stay
            stream.flush()
    os._exit(code & 0xFF)


def _in_child() -> None:
    global _generation  # noqa: PLW0603 - it is the number of this process
    _generation += 1
    for cleanup in _cleanups:
        cleanup()
    _cleanups.clear()


os.register_at_fork(after_in_child=_in_child)
