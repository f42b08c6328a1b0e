from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from tests.gateway.stage import Stage, open_stage


@pytest.fixture
async def stage(no_leaked_tasks: None) -> AsyncGenerator[Stage]:  # noqa: ARG001 - checks after this one has closed
    """A gateway with no model yet."""
    with anyio.fail_after(30):
        async with open_stage() as opened:
            yield opened
