from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from urllib.parse import urlsplit

import pytest

from hub.cli.up import run_up
from hub.client.client import Client
from hub.concurrency.services import background_service
from hub.settings.up import UpSettings
from hub.testing.proxy import FaultProxy
from tests.client.models import Count, Echo, Endless


@pytest.fixture(scope="module")
async def gateway_url(anyio_backend: object) -> AsyncGenerator[str]:  # noqa: ARG001 - its loop is that of this fixture
    """The URL of a whole hub in this process, with the models of these tests."""
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0, ping_period=1, ping_timeout=0.9)
    async with background_service(partial(run_up, [Echo, Endless, Count], settings), name="up") as summary:
        yield summary.gateway_url


@pytest.fixture
async def client(gateway_url: str) -> AsyncGenerator[Client]:
    async with Client(gateway_url) as opened:
        yield opened


@pytest.fixture
async def proxy(gateway_url: str) -> AsyncGenerator[FaultProxy]:
    """A proxy in front of the gateway, which can lose connections."""
    parts = urlsplit(gateway_url)
    async with FaultProxy(parts.hostname or "", parts.port or 0) as opened:
        yield opened


@pytest.fixture
async def unsteady(proxy: FaultProxy) -> AsyncGenerator[Client]:
    """A client of the gateway by way of `proxy`."""
    async with Client(f"http://127.0.0.1:{proxy.port}") as opened:
        yield opened
