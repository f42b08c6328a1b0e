"""Runs every test of this folder over every adapter, on each backend that the adapter supports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hub.ports.result_store import ResultStore
from tests.stores.helpers import Adapter
from tests.support.backends import ASYNCIO, TRIO


@dataclass(frozen=True, slots=True)
class Case:
    """`remote`: the store is called over a socket, as by the models of `hub up --reload`."""

    scheme: str
    backend: tuple[str, dict[str, object]]
    remote: bool = False

    @property
    def marks(self) -> tuple[pytest.MarkDecorator, ...]:
        """Markers of its tests."""
        return () if self.scheme == "memory" else (pytest.mark.redis,)


CASES = {
    "memory-asyncio": Case("memory", ASYNCIO),
    "memory-trio": Case("memory", TRIO),
    "redis-asyncio": Case("redis", ASYNCIO),
    "redis-trio": Case("redis", TRIO),
    "redispy-asyncio": Case("redis+redispy", ASYNCIO),
    "reload-asyncio": Case("memory", ASYNCIO, remote=True),
    "reload-trio": Case("memory", TRIO, remote=True),
}


def on_redis(url: str, scheme: str) -> str:
    """`url` with another scheme, which chooses another client library."""
    return f"{scheme}:{url.partition(':')[2]}"


@pytest.fixture(scope="module", params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@pytest.fixture(scope="module")
def adapter(case: Case, request: pytest.FixtureRequest) -> Adapter:
    if case.scheme == "memory":
        return Adapter("memory://", remote=case.remote)
    url = request.getfixturevalue("redis_url")
    assert isinstance(url, str)
    return Adapter(on_redis(url, case.scheme))


@pytest.fixture
async def store(adapter: Adapter) -> AsyncIterator[ResultStore]:
    async with adapter.open() as opened:
        yield opened
