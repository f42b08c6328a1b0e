"""Both backends; on trio time is virtual."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.support.backends import ASYNCIO


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    if request.param == "trio":
        return "trio", {"clock": MockClock(autojump_threshold=0)}
    return ASYNCIO


@pytest.fixture
def virtual_time(anyio_backend: tuple[str, object]) -> bool:
    """Whether seconds cost nothing, so that a test may wait for them and compare times exactly."""
    return anyio_backend[0] == "trio"


@pytest.fixture
def second(virtual_time: bool) -> float:
    """What a test calls a second: a real one on virtual time, otherwise as long as a test can wait for many times."""
    return 1.0 if virtual_time else 0.01
