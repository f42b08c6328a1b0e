from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from tests.gateway.fixtures import LocalGateway, open_gateway


@pytest.fixture
async def gateway(no_leaked_tasks: None) -> AsyncGenerator[LocalGateway]:  # noqa: ARG001 - checks after this one has closed
    """A gateway with no model yet."""
    with anyio.fail_after(30):
        async with open_gateway() as opened:
            yield opened
