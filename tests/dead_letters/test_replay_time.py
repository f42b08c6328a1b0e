"""Replaying in virtual time."""

from __future__ import annotations

import anyio
import pytest
import trio.testing

from hub.brokers.memory.broker import MemoryBroker
from hub.dead_letters.replay import GRACE
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from tests.dead_letters.helpers import bury, new_task, replay_all


@pytest.fixture
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


async def test_a_replay_that_is_cancelled_waits_for_a_silent_store_no_longer_than_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with MemoryBroker() as broker, MemoryStore(StoreOptions()) as store:
        await bury(broker, store, new_task())
        monkeypatch.setattr(store, "finish", silent)
        monkeypatch.setattr(broker, "publish", silent)

        began = anyio.current_time()
        with anyio.move_on_after(10) as scope:
            await replay_all(broker, store)

        assert scope.cancelled_caught
        assert anyio.current_time() - began == pytest.approx(10 + GRACE)


async def silent(*_: object) -> None:
    await anyio.sleep_forever()
