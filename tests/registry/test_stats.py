"""The stats of all models over real HTTP, from what real instances answer to real pings."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub.brokers.memory.broker import MemoryBroker
from hub.histogram import HistogramSnapshot
from hub.ports.broker import Publication
from hub.registry.client.schemas import ModelStatsBody
from hub.stats import InstanceStats
from hub.types import ModelName, TaskState
from tests.registry.fakes import ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TIMEOUT

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

DIGITS_MODEL = ModelName("Digits")


@pytest.fixture
async def broker() -> AsyncGenerator[MemoryBroker]:
    async with MemoryBroker() as memory:
        yield memory


@pytest.fixture
async def registry(broker: MemoryBroker) -> AsyncGenerator[ServedRegistry]:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(broker=broker) as served:
            yield served


def load(done: int, *, in_flight: int = 0, unacked: int = 0, newest: float | None = None) -> InstanceStats:
    times = HistogramSnapshot(bounds=(1.0, 2.0), counts=(done, 0, 0), sum=done / 2)
    return InstanceStats(
        in_flight=in_flight,
        unacked=unacked,
        outcomes={TaskState.SUCCEEDED: done},
        queue_time=times,
        run_time=times,
        newest_task_created_at=newest,
    )


async def figures_of(registry: ServedRegistry, model: ModelName = MODEL) -> ModelStatsBody:
    return next(each for each in (await registry.client.stats()).models if each.model == model)


async def test_statistics_of_a_model_are_the_sum_of_its_instances(registry: ServedRegistry) -> None:
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as one, ping_server() as two, ping_server() as other:
            one.stats = load(2, in_flight=1, unacked=2)
            two.stats = load(3, in_flight=2, unacked=3)
            await registry.login(one)
            await registry.login(two)
            await registry.login(other, DIGITS_MODEL, DIGITS)
            stats = await registry.client.stats()
            assert [each.model for each in stats.models] == [DIGITS_MODEL, MODEL]
            model = await figures_of(registry)
            assert model.in_flight == 3
            assert model.outcomes[TaskState.SUCCEEDED] == 5
            assert model.outcomes[TaskState.FAILED] == 0
            assert model.queue_time == model.run_time == HistogramSnapshot(bounds=(1.0, 2.0), counts=(5, 0, 0), sum=2.5)
            assert (await figures_of(registry, DIGITS_MODEL)).in_flight == 0


async def test_tasks_of_a_removed_instance_stay_counted_but_are_not_in_flight(
    registry: ServedRegistry,
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as one, ping_server() as two:
            one.stats = load(2, in_flight=1)
            two.stats = load(3, in_flight=2)
            await registry.login(one)
            await registry.login(two)
            await registry.client.logout(one.id)
            model = await figures_of(registry)
            assert (model.outcomes[TaskState.SUCCEEDED], model.in_flight) == (5, 2)
            one.stats = load(4)
            await registry.login(one)
            assert (await figures_of(registry)).outcomes[TaskState.SUCCEEDED] == 7


async def test_an_instance_without_statistics_is_no_error(registry: ServedRegistry) -> None:
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as one:
            await registry.login(one)
            model = await figures_of(registry)
    assert (model.in_flight, sum(model.outcomes.values()), model.run_time) == (0, 0, HistogramSnapshot())


async def test_the_queue_includes_the_unacked_messages_of_instances(
    registry: ServedRegistry, broker: MemoryBroker
) -> None:
    await broker.declare(MODEL)
    await broker.publish([Publication(queue=MODEL, body=b"", message_id="1", timestamp=0.0)])
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as one:
            one.stats = load(1, unacked=7, newest=0.0)
            await registry.login(one)
            while (queue := (await figures_of(registry)).queue) is None:
                await anyio.lowlevel.checkpoint()
            assert (queue.ready, queue.unacked, queue.consumers, queue.dead) == (1, 7, 0, 0)
            text = (await registry.get("/metrics")).text
            shown = {
                tuple(sample.labels.values()): sample.value
                for family in text_string_to_metric_families(text)
                if family.name == "hub_queue_messages"
                for sample in family.samples
            }
            assert shown == {(MODEL, "ready"): 1, (MODEL, "unacked"): 7}
            assert f'hub_queue_oldest_message_seconds{{model="{MODEL}"}}' in text
            with broker.outage():
                while (await figures_of(registry)).queue is not None:
                    await anyio.lowlevel.checkpoint()


async def test_statistics_require_the_token() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="open sesame") as registry:
            assert (await registry.get("/v1/stats")).status_code == 401
            assert (await registry.client.stats()).models == ()
