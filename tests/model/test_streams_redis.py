"""Models that stream into a real Redis, which is killed, restarted and emptied meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import fail_after, to_thread

from hub.brokers import BrokerOptions
from hub.brokers.memory.broker import MemoryBroker
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.result_store import ChunkPage, ResultStore
from hub.stores import open_store
from hub.task import Outcome, Task
from hub.types import TaskState
from tests.model.fakes import CONTRACT, INSTANCE, ended, submit, task
from tests.model.stream_models import FORMS
from tests.model.test_streams import Form, texts
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.test_redis_outages import IMPATIENT, once_back
from tests.support.redis import Redis

TIMEOUT = 60.0
COUNT = 1000


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@pytest.fixture
def url(case: Case, private_redis: Redis) -> str:
    return on_redis(private_redis.url, case.scheme)


@pytest.fixture(params=["async", "thread", "process"])
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[str(request.param)]


@asynccontextmanager
async def streaming(form: Form, url: str, each: Task) -> AsyncGenerator[ResultStore]:
    """A worker in the middle of the stream of a task."""
    model = form()
    async with (
        open_store(url, IMPATIENT) as store,
        MemoryBroker(BrokerOptions()) as broker,
        OwnLoop(model.name) as loop,
    ):
        await submit(broker, store, each)
        async with Worker(
            model,
            contract=CONTRACT,
            instance=INSTANCE,
            broker=broker,
            store=store,
            options=WorkerOptions(store_timeout=TIMEOUT, drain_grace=0.0),
            loop=None if model.run_in_process else loop,
        ):
            page = await store.chunks(each.id)
            while isinstance(page, ChunkPage) and page.total < COUNT // 10:
                page = await store.chunks(each.id, page.last, beyond=page.revision)
            yield store


async def outcome_of(store: ResultStore, each: Task) -> Outcome:
    record = await once_back(lambda: ended(store, each))
    assert record.outcome is not None
    return record.outcome


async def test_a_stream_survives_a_redis_that_is_killed_and_restarted(
    form: Form, url: str, private_redis: Redis
) -> None:
    each = task(f"steps {COUNT}")
    with fail_after(TIMEOUT):
        async with streaming(form, url, each) as store:
            private_redis.kill()
            await anyio.sleep(0.2)
            await to_thread.run_sync(private_redis.start)
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.attempt, outcome.chunks) == (TaskState.SUCCEEDED, 1, COUNT)
            assert await texts(store, each) == [f"1 {number}" for number in range(COUNT)]


async def test_a_stream_whose_chunks_are_lost_with_redis_begins_again(
    form: Form, url: str, private_redis: Redis
) -> None:
    each = task(f"steps {COUNT}")
    with fail_after(TIMEOUT):
        async with streaming(form, url, each) as store:
            await to_thread.run_sync(private_redis.empty)
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.attempt, outcome.chunks) == (TaskState.SUCCEEDED, 2, COUNT)
            assert await texts(store, each) == [f"2 {number}" for number in range(COUNT)]
