"""Endings, and what else the stores in Redis know of runs, when the link or the data of the server are lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import structlog
from anyio import create_task_group, fail_after, to_thread, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from hub.errors import ConnectionLost
from hub.ports.result_store import Missing, ReleasedTask, ResultStore, Start
from hub.redis.connection import Command, Reply
from hub.redis.script import Script
from hub.stores import StoreOptions, open_store
from hub.stores.redis.commands import RESYNC
from hub.stores.redis.store import RedisStore
from hub.task import TaskRecord
from hub.testing.proxy import FaultProxy
from hub.types import TaskState
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import MANY, ONE, TIMEOUT, TWO, cancelled, death, record_of, said, success, task, until
from tests.stores.test_endings import Ended, listen, remembered, settled
from tests.stores.test_redis_outages import IMPATIENT, key, once_back, setting
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


@asynccontextmanager
async def through_a_proxy(url: str, private_redis: Redis) -> AsyncGenerator[tuple[FaultProxy, ResultStore]]:
    async with (
        FaultProxy("127.0.0.1", private_redis.port) as proxy,
        open_store(f"{urlsplit(url).scheme}://127.0.0.1:{proxy.port}", StoreOptions(timeout=0.3)) as store,
    ):
        yield proxy, store


async def lose_connection(proxy: FaultProxy, store: ResultStore) -> None:
    proxy.refuse()
    proxy.cut()
    await until(lambda: not store.statistics().connected)


def publications(private_redis: Redis) -> int:
    """Messages that the server was asked to publish so far."""
    for line in private_redis.ctl("INFO", "commandstats").splitlines():
        if line.startswith("cmdstat_publish:calls="):
            return int(line.partition("=")[2].partition(",")[0])
    return 0


async def test_endings_during_a_lost_connection_are_reported_afterwards(url: str, private_redis: Redis) -> None:
    tasks = [task() for _ in range(150)]
    gone = task(result_ttl=0.005)
    told = Ended()
    with fail_after(TIMEOUT):
        async with (
            through_a_proxy(url, private_redis) as (proxy, store),
            open_store(url) as gateway,
            create_task_group() as tg,
        ):
            listen(tg, store, ONE, told)
            await gateway.create([*tasks, gone])
            await store.start([*tasks, gone], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            await gateway.finish([cancelled(one) for one in (*tasks[1:], gone)])
            while isinstance((await gateway.fetch([gone.id]))[0], TaskRecord):
                pass
            await wait_all_tasks_blocked()
            assert told[ONE] == []
            proxy.accept()
            await until(lambda: len(told[ONE]) == len(tasks))
            assert sorted(told[ONE]) == sorted(one.id for one in (*tasks[1:], gone))
            assert remembered(store) == 1
            await gateway.finish([cancelled(tasks[0])])
            await until(lambda: told[ONE][-1] == tasks[0].id)
            tg.cancel_scope.cancel()


async def test_a_change_during_a_lost_connection_ends_a_wait_that_begins_afterwards(
    url: str, private_redis: Redis
) -> None:
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as other:
            one = task(reply_channel=store.channel)
            await store.create([one])
            await lose_connection(proxy, store)
            await other.finish([cancelled(one)])
            proxy.accept()
            await until(lambda: store.statistics().connected)
            record = await store.wait_for_change(one.id, after=0, until_terminal=True)
            assert isinstance(record, TaskRecord)
            assert record.state is TaskState.CANCELLED


async def test_endings_are_reported_after_a_server_was_killed(url: str, private_redis: Redis) -> None:
    one, told = task(), Ended()
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store, create_task_group() as tg:
            listen(tg, store, ONE, told)
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            private_redis.kill()
            await until(lambda: not store.statistics().connected)
            await to_thread.run_sync(private_redis.start)
            async with open_store(url) as gateway:
                await once_back(lambda: gateway.finish([cancelled(one)]))
                await until(lambda: told[ONE] == [one.id])
            tg.cancel_scope.cancel()


async def test_runs_whose_records_the_server_has_lost_are_written_again_after_a_reconnect(
    url: str, private_redis: Redis
) -> None:
    one, plain = task(deadline=1.8e9, key="order-7"), task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.create([one, plain])
            await store.start([one, plain], ONE, attempts=MANY)
            await store.start([one], ONE, attempts=MANY)
            again = await record_of(store, one)
            await lose_connection(proxy, store)
            private_redis.ctl("FLUSHALL")
            proxy.accept()
            while await gateway.fetch([one.id, plain.id]) == [Missing.UNKNOWN] * 2:
                await checkpoint()
            for name in ("record", "tombstone"):
                assert int(private_redis.ctl("PTTL", key(one, name))) > 0
            record = await record_of(gateway, one)
            assert (record.state, record.attempt, record.instance) == (TaskState.RUNNING, 2, ONE)
            assert record.started_at == again.started_at, "it went on all the while"
            assert (record.model, record.fingerprint, record.deadline) == (one.model, one.fingerprint, 1.8e9)
            assert (record.digest, record.pending, record.revision) == (one.digest, False, 2)
            await gateway.finish([cancelled(one), cancelled(plain)])
            told = list(await store.next_ended(ONE))
            while len(told) < 2:
                told += await store.next_ended(ONE)
            assert told == [one.id, plain.id]


@pytest.mark.parametrize("linked", [False, True], ids=["over a lost link", "when it is handed back"])
async def test_a_run_that_was_not_the_first_is_the_only_one_that_counts_when_the_data_are_lost(
    url: str, private_redis: Redis, linked: bool
) -> None:
    """The server does not know any more which of the earlier runs were handed back, so none of them counts."""
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as other:
            await store.create([one])
            for attempt in (1, 2, 3):
                await store.start([one], ONE, attempts=1)
                await store.release([ReleasedTask(task_id=one.id, attempt=attempt)])
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 4)]
            if linked:
                private_redis.ctl("FLUSHALL")
                assert await store.release([ReleasedTask(task_id=one.id, attempt=4)]) == [True]
                assert await other.start([one], TWO, attempts=1) == [Start(TaskState.RUNNING, 5)]
            else:
                await lose_connection(proxy, store)
                private_redis.ctl("FLUSHALL")
                proxy.accept()
                while await other.fetch([one.id]) == [Missing.UNKNOWN]:
                    await checkpoint()
                assert await other.start([one], TWO, attempts=1) == [Start(TaskState.QUEUED, 4)]
                assert await other.start([one], TWO, attempts=2) == [Start(TaskState.RUNNING, 5)]


async def test_a_start_that_the_server_has_lost_is_made_good(url: str, private_redis: Redis) -> None:
    """As after a failover to a replica that lacks the last second."""
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            private_redis.ctl("HSET", key(one), "state", "queued", "attempt", "0", "revision", "1", "runners", "")
            waiting = gateway.wait_for_change(one.id, after=1)
            proxy.accept()
            record = await waiting
            assert isinstance(record, TaskRecord)
            assert (record.state, record.attempt, record.instance) == (TaskState.RUNNING, 1, ONE)
            await gateway.finish([cancelled(one)])
            assert await store.next_ended(ONE) == [one.id]


async def test_a_later_run_elsewhere_stays_in_the_record(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as other:
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            await other.start([one], TWO, attempts=MANY)
            before = await record_of(other, one)
            proxy.accept()
            await until(lambda: store.statistics().connected)
            await settled(store)
            assert await record_of(other, one) == before
            await other.finish([success(one, by=TWO)])
            assert await store.next_ended(ONE) == [one.id]


async def test_a_run_of_a_task_that_was_withdrawn_meanwhile_is_needed_no_more(url: str, private_redis: Redis) -> None:
    """The start was lost with the server's data, so a submit that heard nothing from the broker could withdraw it."""
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            private_redis.ctl("FLUSHALL")
            await gateway.withdraw([one])
            proxy.accept()
            assert await store.next_ended(ONE) == [one.id]
            assert await gateway.fetch([one.id]) == [Missing.UNKNOWN]


async def test_looking_after_runs_is_tried_again_until_the_server_answers(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            private_redis.ctl("HDEL", key(one), "runners")
            with setting(private_redis, "maxmemory", "1"), structlog.testing.capture_logs() as logs:
                proxy.accept()
                await until(lambda: any("runs not looked up" in entry["event"] for entry in logs))
            while private_redis.ctl("HGET", key(one), "runners").strip() != store.channel:
                await checkpoint()
            await gateway.finish([cancelled(one)])
            assert await store.next_ended(ONE) == [one.id]


async def test_one_unreadable_record_does_not_affect_other_runs(url: str, private_redis: Redis) -> None:
    bad, good = task(), task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.create([bad, good])
            await store.start([bad, good], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            private_redis.ctl("DEL", key(bad))
            private_redis.ctl("SET", key(bad), "text")
            await gateway.finish([cancelled(good)])
            proxy.accept()
            assert await store.next_ended(ONE) == [good.id]


async def test_a_reconnect_before_the_reply_of_a_start_is_read_hides_no_ending(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            assert isinstance(store, RedisStore)
            await gateway.create([one])
            client = store._client
            run = client.run

            async def interrupted(script: Script, commands: Sequence[Command]) -> Sequence[Reply]:
                client.run = run  # type: ignore[method-assign]
                replies = await run(script, commands)
                private_redis.ctl("HDEL", key(one), "runners")  # the message that was lost
                await gateway.finish([cancelled(one)])
                client.connections_opened += 1
                store._connected()
                await wait_all_tasks_blocked()
                return replies

            client.run = interrupted  # type: ignore[method-assign]
            assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)]
            assert await store.next_ended(ONE) == [one.id]


async def test_a_finish_whose_connection_breaks_keeps_its_run(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            with pytest.raises(ConnectionLost):
                await store.finish([success(one)])
            assert remembered(store) == 1
            await gateway.finish([cancelled(one)])
            proxy.accept()
            assert await store.next_ended(ONE) == [one.id]
            assert await once_back(lambda: store.finish([success(one)])) == [False]
            assert remembered(store) == 0


async def test_a_run_is_handed_back_to_a_server_that_lost_its_data(url: str, private_redis: Redis) -> None:
    one, stranger = task(), task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one, stranger])
            await store.start([one], ONE, attempts=1)
            private_redis.ctl("FLUSHALL")
            run = ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)
            assert await store.release([run, replace(run, task_id=stranger.id)]) == [True, True]
            record = await record_of(store, one)
            assert (record.state, record.attempt, record.retries) == (TaskState.QUEUED, 1, 1)
            assert await store.fetch([stranger.id]) == [Missing.UNKNOWN]
            assert remembered(store) == 0
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 2, 1)]


async def test_a_run_whose_start_the_server_has_lost_can_be_handed_back(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            for _ in range(3):
                await store.start([one], ONE, attempts=MANY)
            private_redis.ctl("HSET", key(one), "state", "queued", "attempt", "0", "revision", "1")
            assert await store.release([ReleasedTask(task_id=one.id, attempt=3)]) == [True]
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 4)]


async def test_what_is_lost_on_the_way_may_be_repeated(url: str, private_redis: Redis) -> None:
    """The calls are carried out by a server that is frozen before it could answer, and once more by the caller."""
    one, other = task(key="order-7"), task()
    run = ReleasedTask(task_id=other.id, attempt=1, retry_at=1.7e9)
    with fail_after(TIMEOUT):
        async with open_store(url, IMPATIENT) as store:
            await store.create([one, other])
            await store.start([other], ONE, attempts=1)
            await store.report([said(other, 1)])
            for call in (
                lambda: store.confirm([one]),
                lambda: store.report([said(other, 1, message="more")]),
                lambda: store.release([run]),
            ):
                private_redis.freeze()
                with pytest.raises(ConnectionLost):
                    await call()
                private_redis.thaw()
                await once_back(call)
            found = await store.fetch([one.id, other.id])
            assert [record.revision for record in found if isinstance(record, TaskRecord)] == [2, 5]
            record = await record_of(store, other)
            assert (record.state, record.retries, record.retry_at) == (TaskState.QUEUED, 1, 1.7e9)
            assert await store.start([other], ONE, attempts=1) == [Start(TaskState.RUNNING, 2, 1)]


async def test_waiting_for_endings_does_not_poll(url: str) -> None:
    one, told = task(), Ended()
    with fail_after(TIMEOUT):
        async with (
            open_store(url, StoreOptions(timeout=1000.0)) as store,
            open_store(url) as gateway,
            create_task_group() as tg,
        ):
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            listen(tg, store, ONE, told)
            await wait_all_tasks_blocked()
            before = store.statistics()
            for _ in range(200):
                await checkpoint()
            await gateway.finish([cancelled(one)])
            await until(lambda: told[ONE] == [one.id])
            assert store.statistics() == before
            tg.cancel_scope.cancel()


async def test_an_ending_by_the_only_run_is_not_published_to_its_process(url: str, private_redis: Redis) -> None:
    own, watched, raced = task(), task(reply_channel="hub:wake:gateway"), task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as other:
            await store.create([own, watched, raced])
            await store.start([own, raced], ONE, attempts=MANY)
            before = publications(private_redis)
            await store.finish([success(own)])
            assert publications(private_redis) == before
            await store.start([watched], ONE, attempts=MANY)
            await store.finish([death(watched)])
            assert publications(private_redis) == before + 1, "the gateway hears of the end only"
            await other.start([raced], TWO, attempts=MANY)
            await store.finish([success(raced)])
            assert publications(private_redis) == before + 2, "the other instance hears of it"
            assert await other.next_ended(TWO) == [raced.id]
            for one in (own, watched, raced):
                for name in ("channels", "runners"):
                    assert private_redis.ctl("HGET", key(one), name).strip() == "", "no call can be notified any more"


async def test_a_submit_that_was_left_behind_is_written_over_by_the_clock_of_the_server(
    url: str, private_redis: Redis
) -> None:
    one = task(key="order-7")
    again = replace(one, body=b"another", created_at=one.created_at + 1, reply_channel="hub:wake:other")
    wrong = StoreOptions(clock=lambda: 9e9)  # a clock that is wrong lets no submit be taken for dead
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.wait_for_change(one.id, after=1))

    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url, wrong) as other, create_task_group() as tg:
            await store.create([one])
            before = await record_of(store, one)
            assert await other.create([again]) == [before]
            since = int(private_redis.ctl("HGET", key(one), "pending"))
            private_redis.ctl("HSET", key(one), "pending", str(since - 29_000))
            assert await other.create([again]) == [before]
            tg.start_soon(wait)
            while private_redis.ctl("HGET", key(one), "channels").strip() != store.channel:
                await checkpoint()
            private_redis.ctl("HSET", key(one), "pending", str(since - 30_000))
            assert await other.create([again]) == [None]
            await until(lambda: bool(heard))
            record = await record_of(store, one)
            assert heard == [record]
            assert (record.pending, record.digest, record.revision) == (True, again.digest, 2)
            assert record.created_at == again.created_at
            assert private_redis.ctl("HGET", key(one), "channels").split() == [store.channel]
            assert private_redis.ctl("HGET", key(one), "callers").split() == ["hub:wake:other"]
            assert int(private_redis.ctl("HGET", key(one), "pending")) >= since


@pytest.mark.parametrize("touch", ["started", "handed back", "ended", "accepted", "reset"])
async def test_only_what_is_pending_is_written_over(url: str, private_redis: Redis, touch: str) -> None:
    one = task(key="order-7")
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            private_redis.ctl("HSET", key(one), "pending", "1")
            match touch:
                case "accepted":
                    await store.confirm([one])
                case "started" | "handed back":
                    await store.start([one], ONE, attempts=1)
                    if touch == "handed back":
                        await store.release([ReleasedTask(task_id=one.id, attempt=1)])
                case _:
                    await store.finish([death(one)])
                    if touch == "reset":
                        await store.reset([one])
            before = await record_of(store, one)
            assert await store.create([replace(one, created_at=2e9)]) == [before]


async def test_a_server_without_the_resync_script_is_sent_it(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with through_a_proxy(url, private_redis) as (proxy, store), open_store(url) as gateway:
            await store.start([one], ONE, attempts=MANY)
            await lose_connection(proxy, store)
            private_redis.ctl("SCRIPT", "FLUSH")
            private_redis.ctl("FLUSHALL")
            assert private_redis.ctl("SCRIPT", "EXISTS", RESYNC.sha).strip() == "0"
            proxy.accept()
            while await gateway.fetch([one.id]) == [Missing.UNKNOWN]:
                await checkpoint()
