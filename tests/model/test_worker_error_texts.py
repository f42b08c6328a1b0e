"""Errors of a model whose text is made by code of its author: it may take any time, and may not hold up the others."""

from __future__ import annotations

import threading

import anyio
import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from hub.observability.tracebacks import describe, lines
from hub.task import Failure
from tests.model.fakes import TIMEOUT, BreakableStore, Echo, WatchedBroker, ended, submit, task, worker

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Slow(Exception):
    """Makes its text when `over` is set."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self.over = over
        self.asked: list[int] = []

    @override
    def __str__(self) -> str:
        self.asked.append(threading.get_ident())
        self.over.wait(TIMEOUT)
        return "at last"


def raising(error: Exception) -> Echo:
    async def fail(_text: str) -> str:
        await anyio.lowlevel.checkpoint()
        raise error

    return Echo(fail)


async def failure_of(error: Exception) -> Failure:
    """The failure of a run that raises the error."""
    store = BreakableStore()
    broker = WatchedBroker(store)
    with anyio.fail_after(TIMEOUT), capture_logs():  # which is not configured here, and would show errors with rich
        async with worker(raising(error), broker, store):
            one = task()
            await submit(broker, store, one)
            outcome = (await ended(store, one)).outcome
    assert outcome is not None
    assert outcome.failure is not None
    return outcome.failure


async def test_the_text_of_an_error_is_read_off_the_event_loop_and_once() -> None:
    over = threading.Event()
    over.set()
    error = Slow(over)
    failure = await failure_of(error)

    assert failure.message == "at last"
    assert lines(describe(error))[0].endswith("Slow: at last")
    assert len(error.asked) == 1
    assert error.asked != [threading.get_ident()]


async def test_a_text_that_takes_too_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.model.execution.error_text.TIMEOUT", 0.05)
    over = threading.Event()
    try:
        failure = await failure_of(Slow(over))
    finally:
        over.set()

    assert failure.message == "(str() of this error took longer than 0.05 s)"
    assert failure.type.endswith("Slow")


async def test_the_text_of_a_cause_is_read_off_the_event_loop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.model.execution.error_text.TIMEOUT", 0.05)
    over = threading.Event()
    error = ValueError("no such voice")
    error.__cause__ = Slow(over)
    try:
        assert (await failure_of(error)).message == "no such voice"
        assert lines(describe(error))[-1].endswith("Slow: (str() of this error took longer than 0.05 s)")
    finally:
        over.set()


class Exits(Exception):
    @override
    def __str__(self) -> str:
        raise SystemExit(3)


async def test_an_error_whose_text_exits_does_not_end_the_process() -> None:
    assert (await failure_of(Exits())).message == "(the error could not be shown: SystemExit)"
