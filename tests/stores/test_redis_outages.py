"""What the stores in Redis make of a server that is killed, frozen, cut off, emptied or written to by others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import anyio
import pytest
import structlog
from anyio import create_task_group, fail_after, to_thread
from anyio.lowlevel import checkpoint

from hub.errors import ConnectionLost, ConnectionRefused, Undecodable
from hub.ports.result_store import Missing, ReleasedTask, Start
from hub.stores import StoreOptions, open_store
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.task import Task, TaskRecord
from hub.testing.proxy import FaultProxy
from hub.types import TaskState
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import MANY, ONE, TIMEOUT, T, death, record_of, said, success, task, until
from tests.stores.test_waiting import Heard, hear, until_waiting
from tests.support.redis import Redis

IMPATIENT = StoreOptions(read_timeout=1.0, timeout=0.5)  # a busy machine may take half a second to connect


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


async def once_back(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call, as its caller would, until the server is back."""
    while True:
        try:
            return await call()
        except ConnectionLost:
            await anyio.wait_all_tasks_blocked()


def key(of: Task, name: str = "record") -> str:
    return f"hub:{{{of.id}}}:{name}"


async def test_records_and_waiting_calls_outlive_a_killed_server(url: str, private_redis: Redis) -> None:
    waited, ended, queued = task(), task(), task()
    heard = Heard()
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store, create_task_group() as tg:
            await store.create([waited, ended, queued])
            await store.finish([success(ended)])
            before = await store.fetch([ended.id, queued.id])
            hear(tg, store, heard, "end", waited)
            await until_waiting(store, 1)
            private_redis.kill()
            with pytest.raises(ConnectionLost, match=f"redis at 127.0.0.1:{private_redis.port}"):
                await store.fetch([ended.id])
            assert not store.statistics().connected
            await to_thread.run_sync(private_redis.start)
            assert await once_back(lambda: store.fetch([ended.id, queued.id])) == before
            assert await once_back(lambda: store.finish([success(waited)])) == [True]
            await until(lambda: bool(heard))
            assert heard["end"] == await record_of(store, waited)
            assert store.statistics().connected
            assert store.statistics().reconnects in (1, 2)  # twice on a machine that stands still for a second


async def test_a_frozen_server_is_noticed_and_a_thawed_one_is_used_again(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store:
            await store.create([one])
            private_redis.freeze()
            with fail_after(5), pytest.raises(ConnectionLost):
                await store.start([one], ONE, attempts=MANY)
            with fail_after(5), pytest.raises(ConnectionLost):
                await store.fetch([one.id])
            private_redis.thaw()
            assert (await once_back(lambda: store.finish([success(one)]))) == [True]


async def test_an_idle_connection_to_a_frozen_server_is_detected(url: str, private_redis: Redis) -> None:
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store:
            private_redis.freeze()
            await until(lambda: not store.statistics().connected)
            private_redis.thaw()
            await until(lambda: store.statistics().connected)


async def test_changes_missed_during_a_lost_connection_are_read_afterwards(url: str, private_redis: Redis) -> None:
    one, heard = task(), Heard()
    with fail_after(TIMEOUT):
        async with (
            FaultProxy("127.0.0.1", private_redis.port) as proxy,
            open_store(f"{urlsplit(url).scheme}://127.0.0.1:{proxy.port}", IMPATIENT) as store,
            open_store(url) as other,
            create_task_group() as tg,
        ):
            await store.create([replace(one, reply_channel=store.channel)])
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 1)
            proxy.refuse()
            proxy.cut()
            await until(lambda: not store.statistics().connected)
            await other.finish([success(one)])
            assert not heard
            proxy.accept()
            await until(lambda: bool(heard))
            assert heard["end"] == await record_of(other, one)
            assert store.statistics().reconnects in (1, 2)  # twice on a machine that stands still for a second


async def test_calls_under_way_when_the_connection_breaks_end_in_connection_lost(
    url: str, private_redis: Redis
) -> None:
    with fail_after(TIMEOUT):
        async with (
            FaultProxy("127.0.0.1", private_redis.port) as proxy,
            open_store(f"{urlsplit(url).scheme}://127.0.0.1:{proxy.port}", IMPATIENT) as store,
        ):
            lost: list[ConnectionLost] = []

            async def fetch() -> None:
                try:
                    await store.fetch([task().id])
                except ConnectionLost as error:
                    lost.append(error)

            proxy.blackhole()
            async with create_task_group() as tg:
                for _ in range(20):
                    tg.start_soon(fetch)
                    await anyio.wait_all_tasks_blocked()  # one by one, so that they do not share a round trip
                proxy.cut()
            assert len(lost) == 20
            proxy.restore()
            assert await once_back(lambda: store.fetch([task().id])) == [Missing.UNKNOWN]


async def test_no_connection_is_lost_over_many_cuts(url: str, private_redis: Redis) -> None:
    with fail_after(TIMEOUT):
        async with (
            FaultProxy("127.0.0.1", private_redis.port) as proxy,
            open_store(f"{urlsplit(url).scheme}://127.0.0.1:{proxy.port}", IMPATIENT) as store,
        ):
            open_at_first = proxy.statistics().connections
            for times in range(1, 31):
                proxy.cut()
                await until(lambda times=times: store.statistics().reconnects >= times)  # type: ignore[misc]
                assert await once_back(lambda: store.fetch([task().id])) == [Missing.UNKNOWN]
            assert proxy.statistics().connections <= open_at_first + 4


async def test_a_server_without_the_scripts_gets_them(url: str, private_redis: Redis) -> None:
    tasks = [task() for _ in range(150)]
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            private_redis.ctl("SCRIPT", "FLUSH")
            assert await store.create(tasks) == [None] * 150
            private_redis.ctl("SCRIPT", "FLUSH")
            assert await store.start(tasks, ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)] * 150


async def test_an_outcome_survives_a_server_that_lost_its_data(url: str, private_redis: Redis) -> None:
    one, other = task(deadline=1.8e9), task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as stranger:
            await store.create([one, other])
            await store.start([one], ONE, attempts=MANY)
            private_redis.ctl("FLUSHALL")
            assert await stranger.finish([success(one)]) == [False]
            assert await store.finish([success(one), success(other)]) == [True, False]
            record = await record_of(store, one)
            assert (record.model, record.fingerprint, record.deadline) == (one.model, one.fingerprint, one.deadline)
            assert (record.state, record.attempt, record.outcome) == (TaskState.SUCCEEDED, 1, success(one))
            assert await store.finish([success(one)]) == [True]
            assert await store.finish([success(one, b"later")]) == [False]


async def test_keys_expire_by_themselves(url: str, private_redis: Redis) -> None:
    one = task(result_ttl=3600.0, reply_channel="somewhere", key="order-7")

    def lifetimes() -> list[int]:
        return [round(int(private_redis.ctl("PTTL", key(one, name))) / 1000) for name in ("record", "tombstone")]

    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            private_redis.ctl("PEXPIRE", key(one), "600000")
            await store.confirm([one])
            assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            await store.start([one], ONE, attempts=MANY)
            assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            private_redis.ctl("FLUSHALL")
            await store.release([ReleasedTask(task_id=one.id, attempt=1)])  # it is written anew
            assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            await store.start([one], ONE, attempts=MANY)
            for call in (
                lambda: store.report([said(one, 2)]),
                lambda: store.release([ReleasedTask(task_id=one.id, attempt=2)]),
                lambda: store.start([one], ONE, attempts=MANY),
            ):
                private_redis.ctl("PEXPIRE", key(one), "600000")
                await call()
                assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            await store.finish([death(one)])
            assert lifetimes() == pytest.approx([3600, 3600 + TOMBSTONE_TTL], abs=30)
            await store.reset([one])
            assert lifetimes() == pytest.approx([UNFINISHED_TTL, 2 * UNFINISHED_TTL + TOMBSTONE_TTL], abs=30)
            await store.finish([success(one)])
            assert lifetimes() == pytest.approx([3600, 3600 + TOMBSTONE_TTL], abs=30)
            await store.withdraw([other := task()])
            assert int(private_redis.ctl("PTTL", key(other, "tombstone"))) / 1000 == pytest.approx(
                UNFINISHED_TTL, abs=30
            )
    assert private_redis.ctl("HGET", key(one), "channels").strip() == "", "no call can be notified any more"


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (["SET", "{key}", "text"], "WRONGTYPE"),
        (["HSET", "{key}", "state", "queued"], "revision|attempt|id|deadline"),
        (["HSET", "{key}", "state", "asleep", "revision", "1", "attempt", "0"], "asleep|deadline"),
    ],
    ids=["another type", "half a record", "unknown state"],
)
async def test_something_else_under_a_key_is_undecodable(
    url: str, private_redis: Redis, write: list[str], reason: str
) -> None:
    one, fine = task(), task()
    private_redis.ctl(*(word.replace("{key}", key(one)) for word in write))
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([fine])
            for call in (
                lambda: store.fetch([fine.id, one.id]),
                lambda: store.create([fine, one]),
                lambda: store.wait_for_change(one.id, after=0),
            ):
                with pytest.raises(Undecodable, match=reason):
                    await call()
            assert (await record_of(store, fine)).state is TaskState.QUEUED


async def test_nothing_is_done_to_what_is_no_record(url: str, private_redis: Redis) -> None:
    """Each call says so, after it has done its work on the other tasks of the group."""
    one, fine = task(), task()
    private_redis.ctl("SET", key(one), "text")
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            for call in (
                lambda: store.confirm([one, fine]),
                lambda: store.start([one, fine], ONE, attempts=MANY),
                lambda: store.report([said(one, 1), said(fine, 1)]),
                lambda: store.release([ReleasedTask(task_id=of.id, attempt=1) for of in (one, fine)]),
                lambda: store.finish([death(one), death(fine)]),
                lambda: store.reset([one, fine]),
            ):
                with pytest.raises(Undecodable, match="WRONGTYPE"):
                    await call()
            assert (await record_of(store, fine)).revision == 7
            with pytest.raises(Undecodable, match="WRONGTYPE"):
                await store.withdraw([one, fine])
            assert await store.fetch([fine.id]) == [Missing.UNKNOWN]
    assert private_redis.ctl("GET", key(one)).strip() == "text"


async def test_one_bad_record_wakes_no_other_waiting_call_with_an_error(url: str, private_redis: Redis) -> None:
    good, bad, heard = task(), task(), Heard()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, create_task_group() as tg:
            await store.create([good, bad])
            private_redis.ctl("DEL", key(bad))
            private_redis.ctl("SET", key(bad), "text")
            hear(tg, store, heard, "good", good)
            with pytest.raises(Undecodable):
                await store.wait_for_change(bad.id, after=1)
            await store.finish([success(good)])
        assert isinstance(heard["good"], TaskRecord)


async def test_rubbish_on_the_channel_wakes_no_call(url: str, private_redis: Redis) -> None:
    one, heard = task(), Heard()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, create_task_group() as tg:
            await store.create([one])
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 1)
            for rubbish in ("", "a b c d", f"{one.id} x queued", f"{one.id} 9 asleep", "\\xff"):
                private_redis.ctl("PUBLISH", store.channel, rubbish)
            await store.finish([success(one)])
        assert isinstance(heard["end"], TaskRecord)


async def test_nothing_is_polled(url: str) -> None:
    """While a call waits, the server hears nothing but the test of the idle link."""
    one, heard = task(), Heard()
    with fail_after(TIMEOUT):
        async with open_store(url, StoreOptions(timeout=1000.0)) as store, create_task_group() as tg:
            await store.create([one])
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 1)
            before = store.statistics().flushes
            for _ in range(200):
                await checkpoint()
            assert store.statistics().flushes == before
            await store.finish([success(one)])
            assert not heard or store.statistics().flushes > before


async def test_a_missing_server_is_reported_on_entry(url: str, private_redis: Redis) -> None:
    private_redis.kill()
    with fail_after(TIMEOUT), pytest.raises(ConnectionLost, match=r"redis at 127\.0\.0\.1:\d+"):
        async with open_store(url.replace("://", "://user:secret@"), IMPATIENT):
            raise AssertionError("entered without a server")


async def test_wrong_credentials_are_a_configuration_error_that_does_not_repeat_them(url: str) -> None:
    with fail_after(TIMEOUT), pytest.raises(ConnectionRefused, match="credentials") as caught:
        async with open_store(url.replace("://", "://user:secret@"), IMPATIENT):
            raise AssertionError("entered with wrong credentials")
    assert "secret" not in str(caught.value)


async def test_an_error_of_the_block_leaves_it_as_it_is(url: str) -> None:
    with fail_after(TIMEOUT), pytest.raises(KeyError, match="mine"):
        async with open_store(url):
            raise KeyError("mine")


@contextmanager
def setting(private_redis: Redis, name: str, value: str) -> Iterator[None]:
    before = private_redis.ctl("CONFIG", "GET", name).split("\n")[1]
    private_redis.ctl("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        private_redis.ctl("CONFIG", "SET", name, before)


@pytest.mark.parametrize(
    ("policy", "maxmemory", "warned"),
    [
        ("allkeys-lru", "100mb", True),
        ("volatile-ttl", "100mb", True),
        ("noeviction", "100mb", False),
        ("allkeys-lru", "0", False),
    ],
)
async def test_a_server_that_may_evict_records_is_warned_of(
    url: str, private_redis: Redis, policy: str, maxmemory: str, warned: bool
) -> None:
    with (
        setting(private_redis, "maxmemory-policy", policy),
        setting(private_redis, "maxmemory", maxmemory),
        structlog.testing.capture_logs() as logs,
        fail_after(TIMEOUT),
    ):
        async with open_store(url):
            pass
    assert [entry["policy"] for entry in logs if "evict" in entry["event"]] == ([policy] if warned else [])


async def test_a_full_server_is_out_of_reach_for_now(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            with setting(private_redis, "maxmemory", "1"), pytest.raises(ConnectionLost, match="maxmemory"):
                await store.create([one])
            assert await store.create([one]) == [None]
