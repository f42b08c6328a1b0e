"""Broker and store as the process of the models of `hub up --reload` has them, without that process."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hub.cli.reload.calls import CallClient, open_calls
from hub.cli.reload.server import CallServer
from hub.concurrency.services import background_service


@asynccontextmanager
async def calls_to(**targets: object) -> AsyncGenerator[CallClient]:
    """Calls to objects of this process, through a socket."""
    parent, child = socket.socketpair()
    server = CallServer(parent, targets)
    async with background_service(server.serve, name="calls"), open_calls(child) as calls:
        yield calls
