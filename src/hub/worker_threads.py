"""Threads that run code of others, and that nobody can interrupt: their names, and the end of a process that has some."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

FOREIGN: Final = "hub.model "
"""How the names of threads begin while they run code of a model."""


def rename(name: str) -> str:
    """Gives the current thread a name, for stack dumps and for `lingering`; returns the one that it had."""
    thread = threading.current_thread()
    before, thread.name = thread.name, name
    return before


def lingering(grace: float) -> Sequence[str]:
    """Waits up to `grace` seconds for the threads that Python waits for at its exit; returns the names of the rest.

    Those that run code of a model are always among them, although Python would stop some of these wherever they are.
    """
    until = monotonic() + grace
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    awaited = [thread for thread in threads if not thread.daemon or thread.name.startswith(FOREIGN)]
    for thread in awaited:
        thread.join(max(0.0, until - monotonic()))
    return [thread.name for thread in awaited if thread.is_alive()]


def end_later(seconds: float, code: int, report: Callable[[], None]) -> None:
    """Ends this process in `seconds` with exit code `code`, after a call of `report`, unless it has ended by then."""

    def end() -> None:
        report()
        end_now(code)

    timer = threading.Timer(seconds, end)
    timer.name = "hub.exit"
    timer.daemon = True  # it runs until the interpreter is about to go, and does not hold it up
    timer.start()


def end_now(code: int) -> NoReturn:
    """Ends this process without waiting for threads, and with it the children that a model started by `multiprocessing`.

    Python ends the daemonic ones of these at its exit, and waits for the others for as long as they like.
    """
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:  # loaded by a model: nothing here needs it
        for child in multiprocessing.active_children():
            child.terminate()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads it: no reason to stay
            stream.flush()
    os._exit(code)
