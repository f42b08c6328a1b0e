"""The end of a session of aiormq is bounded, whatever that library does with a cancellation."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from structlog.testing import capture_logs

from hub.brokers.aiormq import session as aiormq_session
from hub.brokers.aiormq.session import open_session
from hub.brokers.options import BrokerOptions


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_call_that_swallows_its_cancellation_does_not_hang_the_shutdown(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiormq_session, "CLOSE_TIMEOUT", 0.2)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:  # noqa: ASYNC103 - what the library must not be able to do
                continue  # noqa: ASYNC104

    with anyio.fail_after(30), capture_logs() as lines:
        async with open_session(amqp_url.replace("amqp://", "amqp+aiormq://"), BrokerOptions()) as session:
            task = session.start(stubborn(), "stubborn call")
            await anyio.lowlevel.checkpoint()
    assert [line["calls"] for line in lines if "calls" in line] == [["hub.aiormq stubborn call"]]
    released.set()
    await task
