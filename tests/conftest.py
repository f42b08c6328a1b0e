"""What every test gets: both backends, the servers, and the promise that no task of hub outlives its test."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
import structlog
from hypothesis import settings

from tests.support.rabbitmq import RabbitMQ, rabbitmq
from tests.support.redis import Redis, redis

_SERVERS_TO_BREAK = {"private_rabbitmq", "private_redis"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets `-m "not kills_servers"` leave out what a server behind HUB_TEST_*_URL cannot be used for."""
    for item in items:
        if isinstance(item, pytest.Function) and not _SERVERS_TO_BREAK.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.kills_servers)


settings.register_profile("hub", deadline=None)  # an example may take long on a busy machine; pytest-timeout bounds it
settings.load_profile("hub")


@pytest.fixture(
    scope="module",
    params=[pytest.param(("asyncio", {"debug": True}), id="asyncio"), pytest.param(("trio", {}), id="trio")],
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test calls in this process sets logging up; the next test does not want to know."""
    configure = structlog.configure
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # set anew at the end, whatever a command has set
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
def amqp_url() -> Iterator[str]:
    """A RabbitMQ that all tests share: HUB_TEST_AMQP_URL, or one of the run's own. Name queues uniquely."""
    given = os.environ.get("HUB_TEST_AMQP_URL")
    if given:
        yield given
        return
    with rabbitmq() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that all tests share: HUB_TEST_REDIS_URL, or one of the run's own. Name keys uniquely."""
    given = os.environ.get("HUB_TEST_REDIS_URL")
    if given:
        yield given
        return
    with redis() as server:
        yield server.url


@pytest.fixture(scope="session")
def _rabbitmq_to_break() -> Iterator[RabbitMQ]:
    with rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
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
    _redis_to_break.ctl("flushall")
    yield _redis_to_break
    if _redis_to_break.is_alive():
        _redis_to_break.thaw()
