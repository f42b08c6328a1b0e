"""What records look like in Redis, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint
from redis import Redis as Client

from hub.stores import open_store
from hub.task import TaskRecord
from hub.types import TaskState, new_instance_id
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import MANY, ONE, TIMEOUT, record_of, success, task
from tests.stores.test_redis_outages import key
from tests.support.redis import Redis

MOST = 750
"""Bytes of both keys of a finished task, by the count of the server, which leaves out its tables."""

SIZES = (0, 1, 63, 64, 65, 100, 900, 1024, 1025, 4000, 5000, 70_000)
"""Bytes of bodies; an outcome has some 60 more."""


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


async def test_a_finished_task_needs_few_bytes(url: str, private_redis: Redis) -> None:
    instance = new_instance_id()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            one = replace(task(result_ttl=86_400.0, created_at=1795821229.1802092), reply_channel=store.channel)
            await store.create([one])
            await store.start([one], instance, attempts=MANY)
            await store.finish([success(one, b"x" * 100, by=instance)])
    used = [int(private_redis.ctl("MEMORY", "USAGE", key(one, name))) for name in ("record", "tombstone")]
    assert sum(used) <= MOST
    assert private_redis.ctl("OBJECT", "ENCODING", key(one)).strip() in {"listpack", "ziplist"}


async def test_outcomes_of_all_sizes_are_read_as_they_were_written(url: str) -> None:
    read: dict[int, TaskRecord] = {}
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as other, create_task_group() as tg:
            tasks = {size: task(reply_channel=store.channel) for size in SIZES}

            async def wait(size: int) -> None:
                record = await store.wait_for_change(tasks[size].id, after=0, until_terminal=True)
                assert isinstance(record, TaskRecord)
                read[size] = record

            await store.create(list(tasks.values()))
            for size in SIZES:
                tg.start_soon(wait, size)
            await other.start(list(tasks.values()), ONE, attempts=MANY)
            outcomes = [success(one, bytes(size)) for size, one in tasks.items()]
            assert await other.finish(outcomes) == [True] * len(SIZES)
            assert await other.finish(outcomes) == [True] * len(SIZES), "a repeated call is no other outcome"
            later = [success(one, bytes(size + 1)) for size, one in tasks.items()]
            assert await other.finish(later) == [False] * len(SIZES)
            for size, one in tasks.items():
                found = await record_of(other, one)
                assert found.outcome is not None
                assert found.outcome.body == bytes(size)
            while len(read) < len(SIZES):
                await checkpoint()
            assert read == {size: await record_of(other, one) for size, one in tasks.items()}


async def test_a_reset_removes_all_of_an_outcome(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            await store.finish([replace(success(one, bytes(900)), state=TaskState.DEAD)])
            assert await store.reset([one]) == [True]
            await store.start([one], ONE, attempts=MANY)
            await store.finish([success(one, b"short")])
            assert (await record_of(store, one)).outcome == success(one, b"short")
            assert private_redis.ctl("HEXISTS", key(one), "3").strip() == "0"


async def test_an_outcome_in_one_piece_with_its_id_is_read_too(url: str, private_redis: Redis) -> None:
    """As it was written before, or by a program in another language."""
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            await store.finish([success(one)])
            before = await record_of(store, one)
            with Client.from_url(private_redis.url) as server:
                server.hdel(key(one), "2", "3")
                server.hset(key(one), mapping={"outcome": success(one).encode(), "channels": "", "runners": ""})
            assert await record_of(store, one) == before


async def test_only_the_records_that_are_lost_are_written_at_a_start(url: str, private_redis: Redis) -> None:
    there, lost = (task(created_at=1.7e9 + number) for number in range(2))
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([there, lost])
            private_redis.ctl("DEL", key(lost), key(lost, "tombstone"))
            starts = await store.start([there, lost, task()], ONE, attempts=MANY)
            assert [(start.state, start.attempt) for start in starts] == [(TaskState.RUNNING, 1)] * 3
            records = [await record_of(store, one) for one in (there, lost)]
            assert [(record.created_at, record.revision) for record in records] == [
                (there.created_at, 2),
                (lost.created_at, 2),
            ]


async def test_a_wait_for_any_change_of_an_own_task_sees_its_start(url: str, private_redis: Redis) -> None:
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as other, create_task_group() as tg:
            one = task(reply_channel=store.channel)
            await store.create([one])
            seen: list[TaskState] = []

            async def wait() -> None:
                record = await store.wait_for_change(one.id, after=1)
                assert isinstance(record, TaskRecord)
                seen.append(record.state)

            tg.start_soon(wait)
            while not private_redis.ctl("HGET", key(one), "channels").strip():
                await checkpoint()
            await other.start([one], ONE, attempts=MANY)
            while not seen:
                await checkpoint()
            assert seen == [TaskState.RUNNING]
