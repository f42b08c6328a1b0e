"""Streams in Redis: how long they live, and what becomes of them when the server is lost or loses its data."""

from __future__ import annotations

from functools import partial

import pytest
from anyio import create_task_group, fail_after, to_thread

from hub.errors import ConnectionLost, Undecodable
from hub.ports.result_store import ChunkPage, ChunkPosition, ReleasedTask
from hub.stores import open_store
from hub.stores.options import UNFINISHED_TTL
from hub.types import TaskState
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import MANY, ONE, TIMEOUT, TWO, cancelled, record_of, task
from tests.stores.test_chunks import adds, shown, started, streamed
from tests.stores.test_redis_outages import IMPATIENT, key, once_back
from tests.support.redis import Redis


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


async def test_chunks_live_as_long_as_their_record(url: str, private_redis: Redis) -> None:
    finished, stopped = task(result_ttl=90.0), task(result_ttl=90.0)

    def lifetimes() -> list[int]:
        """Milliseconds."""
        keys = [key(one, name) for one in (finished, stopped) for name in ("record", "chunks")]
        return [int(private_redis.ctl("PTTL", each)) for each in keys]

    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, finished, stopped)
            await store.append([adds(one, 1, b"a") for one in (finished, stopped)])
            assert all(UNFINISHED_TTL * 1000 - 30_000 < left <= UNFINISHED_TTL * 1000 for left in lifetimes())
            assert await store.finish([streamed(finished, 1), cancelled(stopped)]) == [True, True]
            assert all(60_000 < left <= 90_000 for left in lifetimes())


async def test_the_first_chunk_of_an_attempt_removes_those_of_the_one_before(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, one)
            await store.append([adds(one, 1, *[b"x"] * 500)])
            await store.start([one], TWO, attempts=MANY)
            await store.append([adds(one, 1, b"A", attempt=2)])
            assert private_redis.ctl("XLEN", key(one, "chunks")).strip() == "1"


async def test_a_stream_goes_on_after_its_server_was_killed(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store:
            await started(store, one)
            await store.append([adds(one, 1, b"a", b"b")])
            private_redis.kill()
            with pytest.raises(ConnectionLost):
                await store.append([adds(one, 3, b"c")])
            await to_thread.run_sync(private_redis.start)
            assert await once_back(lambda: store.append([adds(one, 3, b"c")])) == [True]
            assert await once_back(lambda: store.finish([streamed(one, 3)])) == [True]
            assert [body for _, body in shown(await store.chunks(one.id))] == [b"a", b"b", b"c"]


async def test_a_reader_that_waits_outlives_a_killed_server(url: str, private_redis: Redis) -> None:
    one = task()
    found: list[bytes] = []
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store, open_store(url, IMPATIENT) as reader:
            await started(store, one)

            async def read() -> None:
                after, revision = ChunkPosition(1, 0), 0
                complete = False
                while not complete:
                    read_on = partial(reader.chunks, one.id, after, beyond=revision)
                    page = await once_back(read_on)
                    assert isinstance(page, ChunkPage)
                    found.extend(chunk.body for chunk in page.chunks)
                    after, revision, complete = page.last, page.revision, page.complete

            async with create_task_group() as tg:
                tg.start_soon(read)
                await store.append([adds(one, 1, b"a")])
                await to_thread.run_sync(private_redis.restart)
                await once_back(lambda: store.append([adds(one, 2, b"b")]))
                await once_back(lambda: store.finish([streamed(one, 2)]))
            assert found == [b"a", b"b"]


async def test_a_run_whose_chunks_the_server_has_lost_is_refused_and_released(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, one)
            await store.append([adds(one, 1, b"a")])
            private_redis.empty()
            assert await store.append([adds(one, 2, b"b")]) == [False]
            assert await store.finish([streamed(one, 2)]) == [False]
            assert (await record_of(store, one)).state is TaskState.RUNNING  # written anew
            assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [True]
            await store.start([one], TWO, attempts=MANY)
            assert await store.append([adds(one, 1, b"A", attempt=2)]) == [True]
            assert await store.finish([streamed(one, 1, attempt=2)]) == [True]
            assert shown(await store.chunks(one.id)) == [("2-1", b"A")]


async def test_a_run_that_has_no_chunks_yet_survives_the_loss_of_all_data(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, one)
            private_redis.empty()
            assert await store.append([adds(one, 1, b"a")]) == [True]
            private_redis.empty()
            assert await store.append([adds(one, 1, b"a", b"b")]) == [True]  # a repeated call has them all
            assert await store.finish([streamed(one, 2)]) == [True]


@pytest.mark.parametrize("value", ["", "foreign"])
async def test_a_stream_that_is_gone_or_foreign_is_noticed(url: str, private_redis: Redis, value: str) -> None:
    one, other = task(), task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, one, other)
            await store.append([adds(one, 1, b"a"), adds(other, 1, b"a")])
            private_redis.ctl("DEL", key(one, "chunks"))
            if value:
                private_redis.ctl("SET", key(one, "chunks"), value)
            assert await store.append([adds(one, 2, b"b"), adds(other, 2, b"b")]) == [False, True]
            assert await store.finish([streamed(one, 1), streamed(other, 2)]) == [False, True]
            with pytest.raises(Undecodable, match="chunks of the task are missing"):
                await store.chunks(one.id)
            await store.start([one], ONE, attempts=MANY)
            assert await store.append([adds(one, 1, b"A", attempt=2)]) == [True]
            assert shown(await store.chunks(one.id)) == [("2-1", b"A")]


async def test_many_bytes_of_chunks_go_in_several_commands(url: str) -> None:
    tasks = [task() for _ in range(30)]
    big = b"x" * 300_000
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await started(store, *tasks)
            assert await store.append([adds(one, 1, big, b"end") for one in tasks]) == [True] * 30
            for one in tasks:
                assert shown(await store.chunks(one.id)) == [("1-1", big)]
