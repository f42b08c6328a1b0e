"""The one place that knows threads by name: those that no event loop may know of.

Everything else runs in tasks, or in worker threads of an event loop (`anyio.to_thread`), which wait for it and it for them.
A thread that watches event loops must run while one of them stands still, and must never hold up the end of a process:
see `docs/decisions/161-a-thread-watches-the-event-loop.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

Wait = Callable[[float], bool]
"""Sleeps for so many seconds; returns whether it is time to end, at once when it is."""

current_thread: Final = threading.get_ident
"""Identifies the calling thread, as the keys of `sys._current_frames()` do."""


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
