"""How long a batch waits until it is full. In virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest
import trio.testing

from hub.task import Task
from hub.types import TaskState
from tests.model.batch_models import Batch, Batched, cancel, replies
from tests.model.fakes import BreakableStore, WatchedBroker, ended, reply_of, submit, task, virtually, worker

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LIMIT = 1_000.0


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore(clock=anyio.current_time)


class Times:
    """When each call began, with the numbers of its requests; it takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.began: list[tuple[float, int]] = []

    async def __call__(self, requests: Batch) -> Any:
        self.began.append((anyio.current_time(), len(requests)))
        await anyio.sleep(self.seconds)
        return replies(requests)


class Waits(Batched):
    name = "Echo"
    max_batch_size: ClassVar[int] = 4
    max_batch_wait: ClassVar[float] = 10.0


class WaitsNot(Waits):
    name = "Echo"
    max_batch_wait = 0.0


def until_deadline(seconds: float) -> Task:
    return replace(task(), deadline=anyio.current_time() + seconds)


async def run(
    broker: WatchedBroker, store: BreakableStore, model: Waits, *groups: Sequence[Task], apart: float = 0.0
) -> float:
    """Submits groups of tasks, `apart` seconds between them, and waits for all; returns when it began."""
    with anyio.fail_after(LIMIT):
        async with worker(model, broker, store, clock=anyio.current_time):
            began = anyio.current_time()
            for number, group in enumerate(groups):
                await anyio.sleep(apart if number else 0.0)
                await submit(broker, store, *group)
            for group in groups:
                for each in group:
                    await ended(store, each)
    return began


def offsets(times: Times, began: float) -> list[tuple[float, int]]:
    return [(round(at - began, 2), size) for at, size in times.began]


async def test_a_lone_task_waits_for_others_as_long_as_the_model_says(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times = Times()
    began = await run(broker, store, Waits(times), [task()])
    assert offsets(times, began) == [(10.0, 1)]


async def test_the_wait_begins_with_the_first_task(broker: WatchedBroker, store: BreakableStore) -> None:
    times = Times()
    began = await run(broker, store, Waits(times), [task()], [task()], [task()], apart=4.0)
    assert offsets(times, began) == [(10.0, 3)]


async def test_a_full_batch_does_not_wait(broker: WatchedBroker, store: BreakableStore) -> None:
    times = Times()
    began = await run(broker, store, Waits(times), [task(), task()], [task(), task(), task()], apart=1.0)
    assert offsets(times, began) == [(1.0, 4), (11.0, 1)]


async def test_a_wait_of_zero_takes_what_has_arrived_during_the_call_before(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times = Times(seconds=3.0)
    began = await run(broker, store, WaitsNot(times), [task()], [task()], [task()], apart=1.0)
    assert offsets(times, began) == [(0.0, 1), (3.0, 2)]


async def test_a_task_waits_for_half_of_the_time_to_its_deadline_at_most(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times = Times()
    early = until_deadline(6.0)
    began = await run(broker, store, Waits(times), [early])
    assert offsets(times, began) == [(3.0, 1)]
    assert (await ended(store, early)).state is TaskState.SUCCEEDED


async def test_an_earlier_deadline_of_a_later_task_shortens_the_wait(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times = Times()
    began = await run(broker, store, Waits(times), [task()], [until_deadline(1.0 + 4.0)], apart=1.0)
    assert offsets(times, began) == [(3.0, 2)]


async def test_a_task_whose_deadline_passes_while_a_call_runs_is_not_in_the_next_batch(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times = Times(seconds=20.0)
    first, late, last = task(), until_deadline(5.0), task()
    began = await run(broker, store, WaitsNot(times), [first], [late, last], apart=1.0)
    assert offsets(times, began) == [(0.0, 1), (20.0, 1)]
    assert (await ended(store, late)).state is TaskState.EXPIRED
    assert (await ended(store, last)).state is TaskState.SUCCEEDED


async def test_the_wait_of_a_batch_that_all_tasks_have_left_ends_with_it(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times, first, second = Times(), task(), task()
    with anyio.fail_after(LIMIT):
        async with worker(Waits(times), broker, store, clock=anyio.current_time):
            began = anyio.current_time()
            await submit(broker, store, first)
            await anyio.sleep(4.0)
            await cancel(store, first)
            await anyio.sleep(1.0)
            await submit(broker, store, second)
            await ended(store, second)
    assert offsets(times, began) == [(15.0, 1)]


async def test_a_drain_ends_the_wait(broker: WatchedBroker, store: BreakableStore) -> None:
    times, one = Times(), task()
    with anyio.fail_after(LIMIT):
        async with worker(Waits(times), broker, store, clock=anyio.current_time) as working:
            await submit(broker, store, one)
            await virtually(lambda: working.statistics().in_flight == 1)
            await anyio.sleep(1.0)
            stopped = anyio.current_time()
        assert await reply_of(store, one) == ""
    assert offsets(times, stopped) == [(0.0, 1)]


async def test_the_metrics_count_sizes_and_waits(broker: WatchedBroker, store: BreakableStore) -> None:
    model = Waits(Times())
    with anyio.fail_after(LIMIT):
        async with worker(model, broker, store, clock=anyio.current_time) as working:
            one, two = task(), task()
            await submit(broker, store, one)
            await anyio.sleep(4.0)
            await submit(broker, store, two)
            await ended(store, two)
            batches = working.statistics().batches
    assert batches is not None
    assert (batches.size.sum, sum(batches.size.counts)) == (2.0, 1)
    assert (round(batches.wait.sum, 2), sum(batches.wait.counts)) == (16.0, 2)
    assert (batches.waiting, batches.running) == (0, 0)
