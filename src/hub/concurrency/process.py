"""The root of a process: the event loop, the signals, the outer bound of a shutdown, the exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import anyio
import structlog
from anyio import CancelScope, Event, create_task_group, open_signal_receiver, sleep

from hub.concurrency import threads
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.forking import cleaned_up_in_children
from hub.concurrency.services import on_stop
from hub.concurrency.uvloop_runner import ProcessLoop
from hub.errors import HubError
from hub.observability.watchdog import watch_loop
from hub.types import Backend

EXIT_FAILURE: Final = 1

STOP_LIMIT: Final = 28.0
"""Seconds from the first signal to the end of a process whose work needs no time to drain: what the grace periods of the
parts (stop, save, teardown, logout, servers) add up to at worst. `docs/deployment.md` builds on it."""

THREAD_GRACE: Final = 0.5
"""Seconds for idle worker threads to see that they are not needed any more."""

EXIT_GRACE: Final = 5.0
"""Seconds for what Python does at the end of a process: exit handlers of libraries, and of the model."""

NAMED: Final = 20
"""Tasks that are named when a process did not end; there may be thousands."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread keeps the interpreter's lock while the event loop waits for it, instead of Python's 5 ms: beside a
model's plain `def`, or a big body, each turn of the loop waits for so long."""

COLLECT_AFTER: Final = 10_000
"""New objects, beyond those that are gone, after which Python searches them for reference cycles, instead of its 700. The
requests of one round of a busy event loop have that many: they would survive a collection, and soon all of the heap would be
searched several times a second."""

_log = structlog.get_logger("hub.process")


def run_process(main: Callable[[], Awaitable[None]], *, backend: Backend, stop_limit: float = STOP_LIMIT) -> int:
    """Runs `main` as the whole process and returns its exit code.

    The first SIGTERM or SIGINT cancels `main`, whose services drain; the second one ends the process at once.

    Processes that are forked off meanwhile get the handlers of these signals that a Python program has.

    Args:
        main: What runs.
        backend: The event loop.
        stop_limit: The outer bound of a shutdown: seconds from the first signal, or from the end of the first service,
            after which a process that has still not ended names in its log what it waits for, and ends with exit code 1.

    Returns:
        0 after a normal end or a signal; the `exit_code` of a `HubError`; 1 for anything else.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    options: dict[str, Any] = {"loop_factory": ProcessLoop} if backend == "asyncio" else {}
    try:
        with collapse_exception_group():
            anyio.run(_with_signals, main, stop_limit, backend=backend, backend_options=options)
    except HubError as error:
        first, *more = "\n".join([str(error), *getattr(error, "__notes__", ())]).splitlines()
        _log.error(first, code=error.code, lines=more)
        return error.exit_code
    except BaseException as error:  # noqa: ASYNC103, BLE001 - the last frame of the process: log it all, then end with the exit code
        _log.critical("the process failed", exc_info=error)
        return EXIT_FAILURE  # noqa: ASYNC104 - no event loop is running any more
    return 0


def leave(code: int) -> int:
    """Makes sure that a process which has nothing left to do ends soon; call it last.

    Python waits at its exit for threads, which may run code of a model for as long as that likes. If there are any, this
    names them in the log and ends the process. If there are none, exit handlers have `EXIT_GRACE` seconds.

    Args:
        code: The exit code of the process.

    Returns:
        `code`.
    """
    left = threads.lingering(THREAD_GRACE)
    if left:
        _log.warning("ending without threads that are still running", threads=left)
        threads.end_now(code)
    threads.end_later(
        EXIT_GRACE, code, lambda: _log.warning("exit handlers take too long, ending at once", seconds=EXIT_GRACE)
    )
    return code


async def _with_signals(main: Callable[[], Awaitable[None]], stop_limit: float) -> None:
    main_scope = CancelScope()
    stop_begins = Event()
    on_stop(stop_begins.set)
    with open_signal_receiver(*SIGNALS) as signals, _defaults_in_children(), ProcessLoop.guarding():

        async def watch_signals() -> None:
            stopping = False
            async for number in signals:
                if stopping:
                    _log.warning("second signal, ending at once", signal=number.name)
                    os._exit(128 + number)
                stopping = True
                _log.info("stopping; send the signal again to end at once", signal=number.name)
                stop_begins.set()
                main_scope.cancel(f"{number.name} received")

        async def bound_the_stop() -> None:
            await stop_begins.wait()
            await sleep(stop_limit)
            waiting = sorted(name for task in anyio.get_running_tasks() if (name := task.name or "").startswith("hub."))
            _log.critical("did not end in time, ending at once", seconds=stop_limit, waiting_for=waiting[:NAMED])
            os._exit(EXIT_FAILURE)

        async with watch_loop(), create_task_group() as tg:
            tg.start_soon(watch_signals, name="hub.signals")
            tg.start_soon(bound_the_stop, name="hub.stop limit")
            with main_scope:
                await main()
            tg.cancel_scope.cancel("main has ended")


@contextmanager
def _defaults_in_children() -> Generator[None]:
    """Gives forked children Python's own handlers for our signals, and takes our event loop's wake-up from them.

    Otherwise a SIGTERM for a child of a model would be written into the socket that wakes the event loop of *this* process
    (`signal.set_wakeup_fd`; parent and child share it), which would take it for its own.
    """
    ours = {number: signal.getsignal(number) for number in SIGNALS}

    def reset() -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in ours.items():
            if signal.getsignal(number) == handler:  # else it is the model's
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    with cleaned_up_in_children(reset):
        yield
