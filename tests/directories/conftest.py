"""Runs every test of this folder over every adapter, on each backend that the adapter supports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from hub.directories import open_directory
from hub.ports.directory import Directory
from tests.stores.conftest import CASES, Case, on_redis

Opener = Callable[[], AbstractAsyncContextManager[Directory]]


@pytest.fixture(scope="module", params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@pytest.fixture
def opener(case: Case, request: pytest.FixtureRequest) -> Opener:
    """Opens the directory; on Redis each one stands for a process of its own."""
    if case.scheme == "memory":
        return lambda: open_directory("memory://")
    url = request.getfixturevalue("redis_url")
    assert isinstance(url, str)
    return lambda: open_directory(on_redis(url, case.scheme))


@pytest.fixture
async def directory(opener: Opener) -> AsyncIterator[Directory]:
    async with opener() as opened:
        yield opened
