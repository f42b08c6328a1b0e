"""The lists of recent tasks in Redis: what they cost, and what becomes of them when the server is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import fail_after

from hub.ports.result_store import LIST_LENGTH
from hub.stores import StoreOptions, open_store
from hub.stores.options import UNFINISHED_TTL
from hub.stores.recent import Listed, entry_at
from hub.stores.redis.list_changes import PENDING, REFRESH, ListChanges, ListName, RunsListed
from hub.types import ModelName, TaskId, TaskState
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.stage import MANY, ONE, TIMEOUT, cancelled, failure, record_of, success, task, until
from tests.stores.test_redis_endings import lose_connection, through_a_proxy
from tests.support.redis import Redis

FAILED = [TaskState.FAILED]
A = ModelName("A")


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


@pytest.fixture(autouse=True)
def empty(private_redis: Redis) -> None:
    private_redis.ctl("FLUSHALL")


async def test_a_success_writes_no_list(url: str, private_redis: Redis) -> None:
    tasks = [task() for _ in range(10)]
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create(tasks)
            await store.start(tasks, ONE, attempts=MANY)
            await store.finish([success(tasks[0])])  # the first call sends the script along
            before = store.statistics().flushes
            await store.finish([success(one) for one in tasks])
            assert store.statistics().flushes == before + 1
            assert "list" not in store.statistics().calls
    assert "{recent}" not in private_redis.ctl("KEYS", "*")


async def test_a_list_lives_as_long_as_what_is_on_it(url: str, private_redis: Redis) -> None:
    short, long = task(result_ttl=60.0), task(result_ttl=3600.0)
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([short, long])
            await store.finish([failure(long)])
            await store.finish([failure(short)])
    for name in ("failed", "failed:ModelA"):
        assert 3500_000 < int(private_redis.ctl("PTTL", f"hub:{{recent}}:{name}")) <= 3600_000


async def test_a_value_of_somebody_else_under_a_list_stops_no_outcome(url: str, private_redis: Redis) -> None:
    one = task()
    private_redis.ctl("SET", "hub:{recent}:failed", "x")
    with fail_after(TIMEOUT):
        async with open_store(url) as store:
            await store.create([one])
            assert await store.finish([failure(one)]) == [True]
            assert (await record_of(store, one)).state is TaskState.FAILED


async def test_what_readers_find_stale_is_removed(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url, StoreOptions(listing=0.01)) as store:
            await store.create([one])
            await store.finish([failure(one)])
            private_redis.ctl("DEL", f"hub:{{{one.id}}}:record")
            for model in (one.model, None):
                assert (await store.recent(FAILED, model=model, limit=5)).records == []
            while "{recent}" in private_redis.ctl("KEYS", "*"):
                await store.fetch([one.id])


async def test_runs_are_listed_again_on_a_server_that_lost_its_data(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with (
            through_a_proxy(url, private_redis) as (proxy, store),
            open_store(url) as gateway,
        ):
            await store.create([one])
            await store.start([one], ONE, attempts=MANY)
            while not (await gateway.recent([TaskState.RUNNING], limit=5)).records:
                pass
            await lose_connection(proxy, store)
            private_redis.ctl("FLUSHALL")
            proxy.accept()
            await until(lambda: store.statistics().connected)
            while not (await gateway.recent([TaskState.RUNNING], limit=5)).records:
                pass


async def test_what_could_not_be_listed_is_listed_once_the_server_takes_it(url: str, private_redis: Redis) -> None:
    one, ended = task(), task()
    with fail_after(TIMEOUT):
        async with open_store(url, StoreOptions(listing=0.01)) as store:
            await store.create([one, ended])
            await store.start([one], ONE, attempts=MANY)
            private_redis.ctl("CONFIG", "SET", "maxmemory", "1")
            private_redis.ctl("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await until(lambda: "list" in store.statistics().calls)  # it tries to list the run, and is refused
            private_redis.ctl("CONFIG", "SET", "maxmemory", "0")
            while not (await store.recent([TaskState.RUNNING], limit=5)).records:
                pass
            assert await store.finish([cancelled(ended)]) == [True]


def test_changes_that_are_put_back_undo_nothing_newer() -> None:
    changes = ListChanges()
    one, two = (
        Listed(entry_at(1.0, TaskId("1")), TaskState.FAILED),
        Listed(entry_at(2.0, TaskId("2")), TaskState.FAILED),
    )
    changes.add(one, "A", 5)
    changes.add(two, "A", 7)
    taken = changes.take()
    assert not changes
    changes.remove(one, "A")
    changes.put_back(taken)
    both = changes.take()
    assert both[ListName(TaskState.FAILED, "A")].entries == {one.entry: False, two.entry: True}
    assert both[ListName(TaskState.FAILED)].entries == {one.entry: True, two.entry: True}
    assert both[ListName(TaskState.FAILED)].lifetime_ms == 7


def test_changes_of_a_list_are_bounded() -> None:
    changes = ListChanges()
    for number in range(PENDING + 50):
        changes.add(Listed(entry_at(float(number), TaskId("1")), TaskState.DEAD), "A", 1)
    kept = list(changes.take()[ListName(TaskState.DEAD)].entries)
    assert len(kept) == PENDING >= LIST_LENGTH
    assert kept[-1] == entry_at(PENDING + 49.0, TaskId("1"))


def test_only_a_run_that_lasts_is_written_down_and_again_after_a_while() -> None:
    changes = ListChanges()
    runs = RunsListed(changes)
    lasts, quick, again = ((TaskId(str(number)), float(number), A) for number in range(3))
    lists = (ListName(TaskState.RUNNING, A), ListName(TaskState.RUNNING))

    def written(*present: tuple[TaskId, float, ModelName]) -> list[dict[str, bool]]:
        runs.update(present)
        taken = changes.take()
        if taken:
            assert set(taken) == set(lists)
        return [taken[name].entries for name in lists if name in taken]

    entry = entry_at(0.0, lasts[0])
    assert written(lasts, quick) == []
    assert written(lasts) == [{entry: True}] * 2
    assert written(lasts, again) == []
    runs.forget()
    assert written(lasts) == [{entry: True}] * 2
    for _ in range(REFRESH - 5):
        assert written(lasts) == []
    assert written(lasts) == [{entry: True}] * 2
    assert written() == [{entry: False}] * 2
    assert written() == []
    runs.update([lasts])
    runs.update([lasts])
    assert changes.take()[lists[0]].lifetime_ms == UNFINISHED_TTL * 1000


def test_a_task_that_runs_again_has_another_entry() -> None:
    one = replace(task(), model=A)
    changes = ListChanges()
    runs = RunsListed(changes)
    for _ in range(2):
        runs.update([(one.id, 5.0, A)])
    changes.take()
    for _ in range(2):
        runs.update([(one.id, 9.0, A)])
    entries = changes.take()[ListName(TaskState.RUNNING)].entries
    assert entries == {entry_at(5.0, one.id): False, entry_at(9.0, one.id): True}
