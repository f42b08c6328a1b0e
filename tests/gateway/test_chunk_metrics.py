"""The metrics of streams of chunks."""

from __future__ import annotations

import pytest

from tests.gateway.fixtures import LocalGateway
from tests.gateway.streaming import CONTRACT, COUNTS, LINES, EventReader, calling, next_run, watching
from tests.gateway.test_metrics import samples
from tests.gateway.wire import serving

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_streams_and_their_chunks_are_counted(gateway: LocalGateway) -> None:
    await gateway.model()
    await gateway.model(COUNTS, CONTRACT)
    assert await samples(gateway, "hub_gateway_streams") == {(): 0}
    assert await samples(gateway, "hub_gateway_chunks_total") == {(COUNTS,): 0}  # not of a model with one message
    assert await samples(gateway, "hub_first_chunk_seconds_count") == {(COUNTS,): 0}
    async with serving(gateway) as url, calling(url) as opened:
        await opened.head()
        run = await next_run(gateway.broker, gateway.store)
        async with watching(url, run.task.id, LINES) as other:
            await other.head()
            await run.append("one", "two")
            events = EventReader(opened)
            assert [(await events.expect(name)).name for name in ("task", "chunk", "chunk")]
            assert len([await other.answer(), await other.answer()]) == 2
            assert await samples(gateway, "hub_gateway_streams") == {(): 2}
            await run.append("three")
            await run.finish()
            assert len(await events.rest()) == len(await other.answers()) == 2
    assert await samples(gateway, "hub_gateway_streams") == {(): 0}
    assert await samples(gateway, "hub_gateway_chunks_total") == {(COUNTS,): 6}
    assert await samples(gateway, "hub_first_chunk_seconds_count") == {(COUNTS,): 1}  # of the call
    assert (await samples(gateway, "hub_call_seconds_count"))[COUNTS, "succeeded"] == 1
    gateway.watch.forget(COUNTS)
    await gateway.parts.catalog.changed()
    assert await samples(gateway, "hub_gateway_chunks_total") == {}
