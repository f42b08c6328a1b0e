"""Age of the oldest message and missing consumers, in virtual time."""

from __future__ import annotations

import anyio
import pytest
from trio.testing import MockClock

from hub.brokers.memory.broker import MemoryBroker
from hub.ports.broker import Publication, QueueDepth
from hub.ports.directory import RegisteredContract
from hub.registry.core.ping_result import PingOk
from hub.registry.core.queue_age import OldestMessageEstimator
from hub.registry.core.state import RegistryState
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.types import ModelName, new_instance_id
from tests.registry.helpers import MODEL, TEXTS, entry_of

PERIOD = 2.0


def ages(*polls: tuple[float, int]) -> OldestMessageEstimator:
    made = OldestMessageEstimator()
    for at, ready in polls:
        made.observe({MODEL: QueueDepth(ready=ready, consumers=0)}, at=at)
    return made


@pytest.mark.parametrize(
    ("polls", "newest_age", "oldest"),
    [
        pytest.param([(10, 0), (20, 5), (30, 5)], None, 25, id="since it was last empty"),
        pytest.param([(10, 0), (20, 5), (30, 0), (32, 1)], None, 5, id="it was empty in between"),
        pytest.param([(10, 0), (20, 5)], 7, 7, id="younger tasks have begun"),
        pytest.param([(10, 0), (20, 5)], 3600, 25, id="younger tasks have begun long ago"),
        pytest.param([(20, 5), (30, 5)], 120, 120, id="a backlog from before the start, and tasks start"),
        pytest.param([(20, 5), (30, 5)], None, 15, id="a backlog from before the start, and no task starts"),
        pytest.param([(34, 0), (34, 5)], -1, 0, id="a clock that is ahead"),
    ],
)
def test_the_oldest_message_is_no_older_than(
    polls: list[tuple[float, int]], newest_age: float | None, oldest: float
) -> None:
    assert ages(*polls).estimate(MODEL, now=35, newest_age=newest_age) == oldest


def test_a_queue_that_was_deleted_begins_anew() -> None:
    seen = ages((10, 0), (20, 5))
    seen.observe({}, at=30)
    seen.observe({MODEL: QueueDepth(ready=5, consumers=0)}, at=40)
    assert seen.estimate(MODEL, now=45, newest_age=None) == 5


@pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("trio", {"clock": MockClock(autojump_threshold=0)}), id="virtual")]
)
async def test_the_age_grows_between_two_polls_and_while_the_broker_is_away() -> None:
    state = RegistryState()
    state.add_contracts(
        [RegisteredContract(model=MODEL, contract=TEXTS, first_seen_at=1.0, first_seen_from=new_instance_id())]
    )
    async with MemoryBroker() as broker, anyio.create_task_group() as tg:
        await broker.declare(MODEL)
        queues = QueueMonitor(state, broker, period=PERIOD)
        tg.start_soon(queues.run)
        await anyio.sleep(PERIOD / 2)  # the last poll was 1 s ago
        await broker.publish([Publication(queue=MODEL, body=b"", message_id="1", timestamp=0.0)])
        await anyio.sleep(PERIOD)
        assert queues.depths[MODEL].ready == 1
        assert queues.oldest_age(MODEL, newest_age=None) == pytest.approx(3.0)
        await anyio.sleep(0.5)
        assert queues.oldest_age(MODEL, newest_age=None) == pytest.approx(3.5)
        with broker.outage():
            await anyio.sleep(10 * PERIOD)
            assert queues.depths == {}
        await anyio.sleep(PERIOD)
        assert queues.oldest_age(MODEL, newest_age=None) == pytest.approx(3.5 + 11 * PERIOD)
        assert queues.oldest_age(MODEL, newest_age=1.0) == 1.0
        tg.cancel_scope.cancel()


async def test_consumers_are_missing_after_two_polls_in_a_row_and_that_is_one_incident() -> None:
    state, entries = RegistryState(clock=lambda: 1.0), [entry_of(), entry_of()]
    for entry in entries:
        state.login(entry)
        target = state.target(entry.id)
        assert target is not None
        state.pinged(target, PingOk())
    async with MemoryBroker() as broker:
        queues = QueueMonitor(state, broker, period=PERIOD)
        seen: list[int] = []
        for count in (1, 2, 1, 1, 1, 2, 1, 1):
            queues.count_consumers({MODEL: count, ModelName("Other"): 0}, 2.0)
            seen.append(queues.missing_consumers(MODEL))
    assert seen == [0, 0, 0, 1, 1, 0, 0, 1]
    assert queues.missing_consumer_incidents[MODEL] == 2
    assert queues.missing_consumers(ModelName("Other")) == 0
