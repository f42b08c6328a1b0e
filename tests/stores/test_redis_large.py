"""Large values in Redis: they are read whole, side by side, and hold up nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import Event, create_task_group, fail_after, wait_all_tasks_blocked
from redis import client as redispy

from hub.ports.result_store import Missing, ResultStore
from hub.redis.budget import ByteBudget
from hub.stores import open_store
from hub.stores.redis.store import SMALL
from hub.task import TaskRecord
from hub.types import TaskState
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import TIMEOUT, record_of, success, task
from tests.support.redis import Redis

MB = 1_000_000


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture
def url(case: Case, private_redis: Redis) -> str:
    return on_redis(private_redis.url, case.scheme)


async def read_in_both_ways(store: ResultStore, other: ResultStore, megabytes: int) -> None:
    one = task(reply_channel=other.channel)
    await store.create([one])
    assert await store.finish([success(one, b"x" * (megabytes * MB))]) == [True]
    found = await record_of(other, one)
    changed = await other.wait_for_change(one.id, after=0, until_terminal=True)
    assert found == changed
    assert found.outcome is not None
    assert len(found.outcome.body or b"") == megabytes * MB


@pytest.mark.parametrize("megabytes", [30, 80])
async def test_an_outcome_of_any_size_is_read_without_losing_the_connection(url: str, megabytes: int) -> None:
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as other:
            await read_in_both_ways(store, other, megabytes)
            assert store.statistics().reconnects == 0
            assert other.statistics().reconnects == 0


async def test_sixty_reads_of_a_megabyte_at_once_all_succeed_while_other_calls_go_on(url: str) -> None:
    big = [task() for _ in range(60)]
    answers: list[TaskRecord | Missing] = []
    read = Event()
    others = 0
    with fail_after(TIMEOUT):
        async with open_store(url) as store:

            async def fetch(at: int) -> None:
                answers.extend(await store.fetch([big[at].id]))

            async def watch(at: int) -> None:
                answers.append(await store.wait_for_change(big[at].id, after=0, until_terminal=True))

            async def call() -> None:
                nonlocal others
                while not read.is_set():
                    one = task(reply_channel=store.channel)
                    assert await store.create([one]) == [None]
                    await store.finish([success(one)])
                    assert await store.wait_for_change(one.id, after=0, until_terminal=True) == await record_of(
                        store, one
                    )
                    others += 1

            for one in big:
                await store.create([one])
                await store.finish([success(one, b"y" * MB)])
            async with create_task_group() as callers:
                callers.start_soon(call)
                async with create_task_group() as readers:
                    for at in range(60):
                        readers.start_soon(fetch, at)
                        readers.start_soon(watch, at)
                read.set()
            assert store.statistics().reconnects == 0
    assert len(answers) == 120
    assert all(isinstance(one, TaskRecord) and one.outcome and len(one.outcome.body or b"") == MB for one in answers)
    assert others > 0


async def test_a_waiting_call_returns_a_large_outcome(url: str) -> None:
    one = task()
    found: list[TaskRecord | Missing] = []
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as other:
            await store.create([one])

            async def wait() -> None:
                found.append(await other.wait_for_change(one.id, after=0, until_terminal=True))

            async with create_task_group() as tg:
                tg.start_soon(wait)
                while other.statistics().waiting == 0:
                    await other.fetch([one.id])
                await store.finish([success(one, b"z" * (SMALL + 1))])
            assert found == [await record_of(other, one)]


async def test_a_repeated_submit_finds_its_large_outcome(url: str) -> None:
    one = task(key="k")
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            assert await store.create([one]) == [None]
            await store.confirm([one])
            await store.finish([success(one, b"z" * (4 * MB))])
            (earlier,) = await store.create([replace(one, created_at=one.created_at + 1)])
            assert earlier == await record_of(store, one)
            assert earlier is not None
            assert earlier.state is TaskState.SUCCEEDED


async def test_a_group_with_large_small_and_missing_records_is_answered_in_order(url: str) -> None:
    tasks = [task() for _ in range(9)]
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            for at, one in enumerate(tasks):
                if at % 3 != 2:
                    await store.create([one])
                    await store.finish([success(one, bytes([at]) * (1 if at % 3 else 2 * MB))])
            found = await store.fetch([one.id for one in tasks])
    for at, (one, record) in enumerate(zip(tasks, found, strict=True)):
        if at % 3 == 2:
            assert record is Missing.UNKNOWN
        else:
            assert isinstance(record, TaskRecord)
            assert record.id == one.id
            assert record.outcome is not None
            assert record.outcome.body == bytes([at]) * (1 if at % 3 else 2 * MB)


async def test_commands_do_not_share_the_connection_that_is_subscribed(url: str, private_redis: Redis) -> None:
    with fail_after(TIMEOUT), redispy.Redis(port=private_redis.port) as watcher:
        async with open_store(url) as store:
            await store.fetch([task().id])
            links = watcher.client_list()
            subscribed = [link for link in links if link["sub"] != "0"]
            assert len(subscribed) == 1
            assert all(link["cmd"] in {"subscribe", "ping"} for link in subscribed)


async def test_bytes_in_flight_are_bounded_and_a_lone_value_may_be_larger() -> None:
    budget = ByteBudget(100)
    order: list[str] = []
    release = {name: Event() for name in "abcd"}

    async def take(name: str, size: int) -> None:
        async with budget.taken(size):
            order.append(name)
            await release[name].wait()

    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            for name, size in (("a", 500), ("b", 60), ("c", 60), ("d", 10)):
                tg.start_soon(take, name, size)
                await wait_all_tasks_blocked()
            assert budget.statistics().waiting == 3
            assert budget.statistics().taken == 500
            release["a"].set()
            while len(order) < 2:
                await wait_all_tasks_blocked()
            assert order == ["a", "b"], "c does not fit beside b, and d does not overtake c"
            release["b"].set()
            while len(order) < 4:
                await wait_all_tasks_blocked()
            assert set(order) == set("abcd"), "both fit at once, so either may go on first"
            release["c"].set()
            release["d"].set()
    assert budget.statistics().taken == 0


async def test_a_cancelled_wait_for_bytes_holds_up_nothing() -> None:
    budget = ByteBudget(100)
    with fail_after(TIMEOUT):
        async with create_task_group() as tg, budget.taken(100):

            async def take(size: int) -> None:
                async with budget.taken(size):
                    pass

            async with create_task_group() as cancelled:
                cancelled.start_soon(take, 100)
                await wait_all_tasks_blocked()
                tg.start_soon(take, 50)
                await wait_all_tasks_blocked()
                cancelled.cancel_scope.cancel()
            assert budget.statistics().waiting == 1
    assert budget.statistics().taken == 0
