"""What every test gets: both backends, and the promise that no task of hub outlives its test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest


@pytest.fixture(
    scope="module",
    params=[pytest.param(("asyncio", {"debug": True}), id="asyncio"), pytest.param(("trio", {}), id="trio")],
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fails when a task whose name starts with `hub.` is left after the test; use it where tasks are started."""
    yield
    await anyio.wait_all_tasks_blocked()
    left = [task.name for task in anyio.get_running_tasks() if (task.name or "").startswith("hub.")]
    assert not left
