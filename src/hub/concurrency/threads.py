"""The one place that knows threads by name: those that no event loop may know of, and those that nothing can interrupt.

Everything else runs in tasks, or in worker threads of an event loop (`anyio.to_thread`), which wait for it and it for them.
A thread that watches event loops must run while one of them stands still, and must never hold up the end of a process:
see `docs/decisions/161-watchdog-thread-for-event-loops.md`. Worker threads that run code of a model have names, so that a
process can end without them.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final, NoReturn

Wait = Callable[[float], bool]
"""Sleeps for so many seconds; returns whether it is time to end, at once when it is."""

current_thread: Final = threading.get_ident
"""Identifies the calling thread, as the keys of `sys._current_frames()` do."""

new_lock: Final = threading.Lock
"""Makes a lock for state that threads without an event loop share."""


@contextmanager
def daemon(work: Callable[[Wait], None], *, name: str) -> Generator[None]:
    """Runs `work` in a thread while the block runs.

    The end of the block ends each wait at once; the thread is not waited for, and ends with the process in any case.
    """
    over = threading.Event()
    threading.Thread(target=work, args=(over.wait,), name=name, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def on_error_in_thread(report: Callable[[str, BaseException], None]) -> None:
    """Has `report` called with the name of a thread and the error that ended it, wherever the thread came from."""

    def hook(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None:  # there is none when the interpreter ends
            report("" if ended.thread is None else ended.thread.name, ended.exc_value)

    threading.excepthook = hook


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
        with suppress(Exception):  # closed, or without a reader: no reason to stay
            stream.flush()
    os._exit(code)
