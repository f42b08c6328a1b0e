"""Chunks that notifications carry to readers: without reads as long as nothing is missing, and never with a gap."""

from __future__ import annotations

import pytest
from anyio import fail_after, move_on_after

from hub.ports.result_store import Chunk, ChunkPage, ChunkPosition, ProgressReport, ResultStore
from hub.stores import open_store
from hub.stores.redis.tails import MAX_TAILS, TAIL_BYTES, Tails
from hub.task import Progress, TaskRecord
from hub.types import TaskId, TaskState, new_task_id
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import MANY, TIMEOUT, TWO, task
from tests.stores.test_chunks import adds, shown, started, streamed
from tests.stores.test_redis_outages import key, once_back
from tests.support.redis import Redis

ONE = TaskId("one")


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


class Reader:
    """Reads a stream on, page by page."""

    def __init__(self, store: ResultStore, task_id: TaskId) -> None:
        self.store = store
        self.task_id = task_id
        self.after = ChunkPosition(1, 0)
        self.beyond = 0

    async def next(self) -> list[tuple[str, bytes]]:
        page = await self.store.chunks(self.task_id, self.after, beyond=self.beyond)
        assert isinstance(page, ChunkPage)
        self.after, self.beyond = page.last, page.revision
        return shown(page)

    @property
    def reads(self) -> int:
        """Pages that were read from the server."""
        return sum(self.store.statistics().calls["chunks"].seconds.counts)


async def test_chunks_that_come_with_their_notification_are_not_read(url: str) -> None:
    one, other = task(), task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            await started(store, one, other)
            reader = Reader(gateway, one.id)
            assert await reader.next() == []
            reads = reader.reads
            for first in (1, 3, 5):
                bodies = [b"%d\n;" % first, b""]
                await store.append([adds(other, first, b"to none", b"!"), adds(one, first, *bodies)])
                found = await reader.next()
                assert found == [(f"1-{first}", bodies[0]), (f"1-{first + 1}", b"")]
            await store.append([adds(one, 5, b"5", b"6", b"7")])  # repeats two
            assert await reader.next() == [("1-7", b"7")]
            assert reader.reads == reads
            await store.finish([streamed(one, 7)])
            assert await reader.next() == []
            assert reader.reads == reads + 1


async def test_large_chunks_and_other_changes_are_read(url: str) -> None:
    one = task()
    big = b"x" * 5000
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            await started(store, one)
            reader = Reader(gateway, one.id)
            await reader.next()
            await store.append([adds(one, 1, big)])
            assert await reader.next() == [("1-1", big)]
            await store.report(
                [ProgressReport(task_id=one.id, attempt=1, progress=Progress(fraction=0.5, message="half", at=1e9))]
            )
            assert await reader.next() == []
            await store.append([adds(one, 2, b"small")])
            assert await reader.next() == [("1-2", b"small")]
            await store.start([one], TWO, attempts=MANY)
            assert await reader.next() == []
            assert reader.after == ChunkPosition(2, 0)
            await store.append([adds(one, 1, b"A", attempt=2)])
            assert await reader.next() == [("2-1", b"A")]


async def test_chunks_whose_notification_was_lost_are_read(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            await started(store, one)
            reader = Reader(gateway, one.id)
            await reader.next()
            private_redis.ctl("HSET", key(one, "record"), "channels", "")
            await store.append([adds(one, 1, b"a")])
            private_redis.ctl("HSET", key(one, "record"), "channels", gateway.channel)
            await store.append([adds(one, 2, b"b")])
            assert await reader.next() == [("1-1", b"a"), ("1-2", b"b")]


async def test_a_wait_that_was_given_up_is_followed_by_a_read(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            await started(store, one)
            reader = Reader(gateway, one.id)
            await reader.next()
            private_redis.ctl("HSET", key(one, "record"), "channels", "")
            await store.append([adds(one, 1, b"a")])
            with move_on_after(0.05):
                await reader.next()
            assert await reader.next() == [("1-1", b"a")]


async def test_a_reader_goes_on_after_the_server_has_lost_the_connection(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway:
            await started(store, one)
            reader = Reader(gateway, one.id)
            await reader.next()
            private_redis.ctl("CLIENT", "KILL", "TYPE", "pubsub")
            await once_back(lambda: store.append([adds(one, 1, b"a")]))
            assert await once_back(reader.next) == [("1-1", b"a")]


async def test_a_process_that_only_waits_is_told_without_the_chunks(url: str, private_redis: Redis) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with open_store(url) as store, open_store(url) as gateway, open_store(url) as watcher:
            await started(store, one)
            await Reader(gateway, one.id).next()
            with move_on_after(0.05):
                await watcher.wait_for_change(one.id, after=2)
            readers = private_redis.ctl("HGET", key(one, "record"), "readers").split()
            channels = private_redis.ctl("HGET", key(one, "record"), "channels").split()
            assert (readers, channels) == ([gateway.channel], [gateway.channel, watcher.channel])
            await store.append([adds(one, 1, b"a")])
            changed = await watcher.wait_for_change(one.id, after=2)
            assert isinstance(changed, TaskRecord)
            assert changed.chunks == 1
            assert await Reader(gateway, one.id).next() == [("1-1", b"a")]


def page(number: int, *, revision: int, total: int | None = None, state: TaskState = TaskState.RUNNING) -> ChunkPage:
    """A page of attempt 1 that ends with this chunk."""
    return ChunkPage(
        attempt=1,
        chunks=(),
        total=number if total is None else total,
        last=ChunkPosition(1, number),
        state=state,
        revision=revision,
    )


def tail_after(tails: Tails, number: int) -> list[Chunk] | None:
    found = tails.find(ONE, ChunkPosition(1, number))
    return None if found is None else list(found.page(number, 1000, TAIL_BYTES).chunks)


@pytest.mark.parametrize("overtaken", [0, 1, 2])
def test_notifications_that_overtake_the_answer_to_a_read_are_kept(overtaken: int) -> None:
    tails = Tails()
    tail = tails.begin(ONE)
    for number in (1, 2)[:overtaken]:
        tails.extend(ONE, number + 2, 1, number, [b"%d" % number])
    assert tails.find(ONE, ChunkPosition(1, 0)) is None
    tails.synchronize(ONE, tail, page(1, revision=3))
    for number in (1, 2, 3):  # those that have come already come once only
        if number > overtaken:
            tails.extend(ONE, number + 2, 1, number, [b"%d" % number])
    assert tail_after(tails, 1) == [Chunk(ChunkPosition(1, 2), b"2"), Chunk(ChunkPosition(1, 3), b"3")]


def test_a_change_between_a_read_and_its_answer_is_not_missed() -> None:
    tails = Tails()
    tail = tails.begin(ONE)
    tails.changed(ONE, 4)  # another change than an append
    tails.synchronize(ONE, tail, page(1, revision=3))
    assert tail_after(tails, 1) is None


def test_a_late_notification_of_a_change_that_was_read_removes_nothing() -> None:
    tails = Tails()
    tails.synchronize(ONE, tails.begin(ONE), page(1, revision=3))
    tails.changed(ONE, 3)
    tails.extend(ONE, 3, 1, 1, [b"1"])
    assert tail_after(tails, 1) == []
    tails.changed(ONE, 4)
    assert tail_after(tails, 1) is None


@pytest.mark.parametrize(
    "read", [page(2, revision=3, total=9), page(2, revision=3, state=TaskState.SUCCEEDED)], ids=["behind", "ended"]
)
def test_a_page_that_nothing_follows_by_notification_begins_no_tail(read: ChunkPage) -> None:
    tails = Tails()
    tails.synchronize(ONE, tails.begin(ONE), read)
    assert len(tails) == 0


@pytest.mark.parametrize(
    ("revision", "attempt", "first"), [(6, 1, 2), (5, 2, 2), (5, 1, 3)], ids=["revision", "attempt", "number"]
)
def test_what_does_not_follow_removes_the_tail(revision: int, attempt: int, first: int) -> None:
    tails = Tails()
    tails.synchronize(ONE, tails.begin(ONE), page(1, revision=4))
    assert tail_after(tails, 1) == []
    tails.extend(ONE, revision, attempt, first, [b"x"])
    assert tail_after(tails, 1) is None
    assert len(tails) == 0


def test_a_tail_is_bounded() -> None:
    tails = Tails()
    tails.synchronize(ONE, tails.begin(ONE), page(0, revision=1))
    for number in range(1, 17):
        tails.extend(ONE, number + 1, 1, number, [b"x" * 4096])
        assert tail_after(tails, 0) is not None
    tails.extend(ONE, 18, 1, 17, [b"x"])
    assert len(tails) == 0


def test_the_number_of_tails_is_bounded() -> None:
    tails = Tails()
    tails.begin(ONE)
    for _ in range(MAX_TAILS):
        tails.begin(new_task_id())
    assert len(tails) == MAX_TAILS
    assert tail_after(tails, 0) is None
