"""Fixtures of all tests: both backends, the servers, the check for leaked tasks; and the markers of tests."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from asyncio import constants
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from hypothesis import settings

from hub.observability import logs
from tests.support.backends import ASYNCIO, TRIO
from tests.support.examples import examples
from tests.support.markers import WITHOUT_SLOW, is_slow, markers_of, set_running_test, starts
from tests.support.rabbitmq import RabbitMQ, rabbitmq
from tests.support.redis import Redis, redis

_TESTS = Path(__file__).parent

_SECONDS = {"slow": 1.5, "kills_servers": 1.0, "rabbitmq": 0.4, "redis": 0.1}
"""Estimates of the duration of a test by its markers. Others take `_SECONDS_WITHOUT_MARKER`."""
_SECONDS_WITHOUT_MARKER = 0.03
SECONDS_OF_FILES = {
    "awkward/test_short.py": 100.0,
    "chaos/test_short.py": 95.0,
    "described/test_conformance.py": 150.0,
    "observability/test_alerts.py": 45.0,
}
"""Of files with few tests that take far longer than others with their markers."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sets the markers of tests by their fixtures and folders."""
    for item in items:
        if isinstance(item, pytest.Function):
            for marker in markers_of(item.fixturenames):
                item.add_marker(marker)
        if is_slow(item.path.relative_to(_TESTS).as_posix()):
            item.add_marker("slow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Does not import the files that `make test-fast` leaves out: a third of the time of its collection."""
    without_slow = config.getoption("markexpr") == WITHOUT_SLOW
    if (
        without_slow
        and collection_path.is_relative_to(_TESTS)
        and is_slow(collection_path.relative_to(_TESTS).as_posix())
    ):
        return True
    return None


def pytest_collection_finish() -> None:
    """Takes modules and tests out of garbage collections: pytest makes five at the end, of 3 s each with all objects."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True, specname="pytest_collection_modifyitems")
def pytest_longest_files_first(items: list[pytest.Item]) -> None:
    """In parallel runs, puts the files first that take longest: a long file at the end would leave other workers idle."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    seconds: dict[Path, float] = {}
    for item in items:
        estimates = [_SECONDS[marker.name] for marker in item.iter_markers() if marker.name in _SECONDS]
        seconds[item.path] = seconds.get(item.path, 0.0) + max(estimates, default=_SECONDS_WITHOUT_MARKER)
    seconds |= {_TESTS / name: known for name, known in SECONDS_OF_FILES.items()}
    items.sort(key=lambda item: -seconds[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets `check_declared` compare the servers that a test starts with the markers that it has."""
    set_running_test({marker.name for marker in item.iter_markers()})
    try:
        return (yield)
    finally:
        set_running_test(None)


vars(constants)["DEBUG_STACK_DEPTH"] = 2
"""Frames that asyncio's debug mode stores with each callback. Its default of 10 is a fifth of the CPU of many tests."""

logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
"""On a busy machine a callback takes longer than 0.1 s, which the debug mode logs, and some tests read what is logged."""

structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback
"""Without a set-up of logging, as in most tests, structlog shows errors with rich, at 20 ms each."""

settings.register_profile(
    "hub", deadline=None, max_examples=examples(100)
)  # an example may take long on a busy machine; pytest-timeout bounds it
settings.load_profile("hub")


@pytest.fixture(
    scope="module",
    params=[pytest.param(ASYNCIO, id="asyncio"), pytest.param(TRIO, id="trio")],
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undoes the logging set-up of a command that a test runs in this process."""
    configure = structlog.configure
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # restored after the test
    monkeypatch.setattr(logs, "_configured", logs._configured)  # likewise: child processes of later tests get it
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def configure_for_now(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_for_now)
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers, root.level = before
        logging.captureWarnings(False)


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fails when a task whose name starts with `hub.` is left after the test; use it where tasks are started."""
    yield
    await anyio.wait_all_tasks_blocked()
    left = [task.name for task in anyio.get_running_tasks() if (task.name or "").startswith("hub.")]
    assert not left


@pytest.fixture(scope="session")
@starts("rabbitmq")
def amqp_url() -> Iterator[str]:
    """A RabbitMQ that all tests share: HUB_TEST_AMQP_URL, or one that the run starts. Name queues uniquely."""
    given = os.environ.get("HUB_TEST_AMQP_URL")
    if given:
        yield given
        return
    with rabbitmq() as server:
        yield server.url


@pytest.fixture(scope="session")
@starts("redis")
def redis_url() -> Iterator[str]:
    """A Redis that all tests share: HUB_TEST_REDIS_URL, or one that the run starts. Name keys uniquely."""
    given = os.environ.get("HUB_TEST_REDIS_URL")
    if given:
        yield given
        return
    with redis() as server:
        yield server.url


@pytest.fixture(scope="session")
@starts("rabbitmq", "kills_servers")
def _rabbitmq_to_break() -> Iterator[RabbitMQ]:
    with rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
@starts("redis", "kills_servers")
def _redis_to_break() -> Iterator[Redis]:
    with redis(appendonly=True) as server:
        yield server


@pytest.fixture
def private_rabbitmq(_rabbitmq_to_break: RabbitMQ) -> Iterator[RabbitMQ]:
    """A RabbitMQ to kill and freeze, running when the test starts. What earlier tests left in it is still there."""
    _rabbitmq_to_break.start()
    yield _rabbitmq_to_break
    if _rabbitmq_to_break.is_alive():
        _rabbitmq_to_break.thaw()


@pytest.fixture
def private_redis(_redis_to_break: Redis) -> Iterator[Redis]:
    """A Redis (append-only file, synced at each write) to kill and freeze, running and empty when the test starts."""
    _redis_to_break.start()
    _redis_to_break.empty()
    yield _redis_to_break
    if _redis_to_break.is_alive():
        _redis_to_break.thaw()
