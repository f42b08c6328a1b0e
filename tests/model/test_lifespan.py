"""The methods of a model, however they are written."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typing_extensions import override

from hub.model.execution.lifespan import lifespan
from hub.model.instance.health_reporter import HealthReporter
from tests.model.fakes import CONTRACT, INSTANCE, TIMEOUT, BreakableStore, Echo, WatchedBroker, worker
from tests.model.process_models import NotesLater
from tests.model.test_process_pool import pool_of

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class HandsOut(Echo):
    """Its methods are plain and return awaitables, like a decorated `async def`."""

    name = "Echo"

    def __init__(self) -> None:
        super().__init__()
        self.awaited: list[str] = []

    async def _note(self, name: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.awaited.append(name)

    @override
    def setup(self) -> Awaitable[None]:
        return self._note("setup")

    @override
    def teardown(self) -> Awaitable[None]:
        return self._note("teardown")

    @override
    def health(self) -> Awaitable[None]:
        return self._note("health")


async def test_an_awaitable_from_a_plain_setup_or_teardown_is_awaited() -> None:
    model = HandsOut()
    with anyio.fail_after(TIMEOUT):
        async with lifespan(model):
            assert model.awaited == ["setup"]
    assert model.awaited == ["setup", "teardown"]


async def test_an_awaitable_is_awaited_in_a_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    with anyio.fail_after(TIMEOUT):
        async with pool_of(NotesLater):
            assert notes.read_text() == "setup\n"
    assert notes.read_text() == "setup\nteardown\n"


class Loads(Echo):
    """Its `setup` runs until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.loading = threading.Event()
        self.release = threading.Event()
        self.events: list[str] = []

    @override
    def setup(self) -> None:
        self.loading.set()
        self.release.wait(TIMEOUT)
        self.events.append("set up")

    @override
    def teardown(self) -> None:
        self.events.append("torn down")


async def test_teardown_waits_for_a_setup_whose_caller_was_cancelled() -> None:
    model = Loads()

    async def load() -> None:
        async with lifespan(model):
            pytest.fail("it was cancelled")

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(load)
            await anyio.to_thread.run_sync(model.loading.wait)
            tg.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                assert model.events == []
            model.release.set()
    assert model.events == ["set up", "torn down"]


async def test_teardown_is_skipped_when_setup_does_not_return_in_time() -> None:
    model = Loads()

    async def load() -> None:
        async with lifespan(model, grace=0.01):
            pytest.fail("it was cancelled")

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(load)
            await anyio.to_thread.run_sync(model.loading.wait)
            tg.cancel_scope.cancel()
        assert model.events == []
        model.release.set()


class Healthy(Echo):
    """Its health is plain, and returns the result of `check`."""

    def __init__(self, check: Callable[[], Any]) -> None:
        super().__init__()
        self.check = check
        self.asked_in: set[int] = set()

    @override
    def health(self) -> None:
        self.asked_in.add(threading.get_ident())
        self.check()


def ill() -> None:
    raise ConnectionError("no GPU")


def slow() -> None:
    raise TimeoutError("the GPU does not answer")


def exits() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda: None, ""),
        (ill, "ConnectionError: no GPU"),
        (slow, "TimeoutError: the GPU does not answer"),
        (exits, "ModelExit: health raised SystemExit: 3"),
    ],
)
async def test_a_plain_health_runs_in_a_thread(
    check: Callable[[], Any], reason: str, broker: WatchedBroker, store: BreakableStore
) -> None:
    model = Healthy(check)
    with anyio.fail_after(TIMEOUT):
        async with worker(model, broker, store) as working:
            presence = HealthReporter(model, contract=CONTRACT, instance=INSTANCE, worker=working)
            presence.ready()
            assert (await presence.ping()).reason.startswith(reason)
            assert bool((await presence.ping()).reason) == bool(reason)
    assert threading.get_ident() not in model.asked_in


async def test_a_plain_health_that_hangs_has_a_second_and_one_thread(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    release = threading.Event()
    model = Healthy(lambda: release.wait(TIMEOUT))
    with anyio.fail_after(TIMEOUT):
        async with worker(model, broker, store) as working:
            presence = HealthReporter(model, contract=CONTRACT, instance=INSTANCE, worker=working)
            presence.ready()
            for _ in range(2):
                assert (await presence.ping()).reason == "health took longer than 1 s"
            assert len(model.asked_in) == 1
            release.set()


async def test_an_awaitable_from_a_plain_health_is_awaited(broker: WatchedBroker, store: BreakableStore) -> None:
    model = HandsOut()
    with anyio.fail_after(TIMEOUT):
        async with worker(model, broker, store) as working:
            presence = HealthReporter(model, contract=CONTRACT, instance=INSTANCE, worker=working)
            presence.ready()
            assert (await presence.ping()).reason == ""
    assert model.awaited == ["health"]
