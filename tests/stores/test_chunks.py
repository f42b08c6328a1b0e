"""The streams of running tasks, whichever adapter keeps them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import ChunkAppend, ChunkPage, ChunkPosition, Missing, ReleasedTask, ResultStore
from hub.task import Outcome, Task, TaskRecord
from hub.types import TaskState, new_task_id
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    TWO,
    Adapter,
    cancelled,
    death,
    failure,
    record_of,
    success,
    task,
)
from tests.stores.test_waiting import peer, until_waiting


def adds(of: Task, first: int, *bodies: bytes, attempt: int = 1) -> ChunkAppend:
    return ChunkAppend(task_id=of.id, attempt=attempt, first=first, bodies=bodies)


def streamed(of: Task, chunks: int, *, attempt: int = 1) -> Outcome:
    return replace(success(of, b""), chunks=chunks, attempt=attempt)


def shown(page: ChunkPage | Missing) -> list[tuple[str, bytes]]:
    assert isinstance(page, ChunkPage)
    return [(str(chunk.position), chunk.body) for chunk in page.chunks]


async def started(store: ResultStore, *tasks: Task, attempts: int = 1) -> None:
    await store.create(tasks)
    for _ in range(attempts):
        await store.start(tasks, ONE, attempts=MANY)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "0-1", "1-01", "a-1", "1-1 ", "1-2-3", "٣-1", "1-" + 16 * "1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="<attempt>-<number>"):
        ChunkPosition.parse(text)


def test_positions_have_a_text_and_an_order() -> None:
    texts = ["1-0", "1-1", "1-2", "1-10", "2-0", "2-1", "10-1"]
    positions = [ChunkPosition.parse(text) for text in texts]
    assert all(earlier < later for earlier, later in pairwise(positions))
    assert [str(position) for position in positions] == texts


async def test_chunks_are_read_in_their_order_from_any_position(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        assert shown(await store.chunks(one.id)) == []
        assert await store.append([adds(one, 1, b"a", b""), adds(one, 3, b"\x00\xff")]) == [True, True]
        page = await store.chunks(one.id)
        assert shown(page) == [("1-1", b"a"), ("1-2", b""), ("1-3", b"\x00\xff")]
        assert isinstance(page, ChunkPage)
        record = await record_of(store, one)
        assert (page.attempt, page.total, page.last) == (1, 3, ChunkPosition(1, 3))
        assert (page.state, page.revision, page.complete) == (TaskState.RUNNING, record.revision, False)
        assert record.chunks == 3
        assert shown(await store.chunks(one.id, ChunkPosition(1, 2))) == [("1-3", b"\x00\xff")]
        assert shown(await store.chunks(one.id, ChunkPosition(1, 3))) == []
        assert shown(await store.chunks(one.id, ChunkPosition(1, 9))) == []


async def test_a_page_ends_at_its_limits_and_the_next_one_goes_on(store: ResultStore) -> None:
    one = task()
    bodies = [b"%03d" % number for number in range(900)]
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, *bodies)])
        found: list[bytes] = []
        after = None
        while len(found) < len(bodies):
            page = await store.chunks(one.id, after, limit=23)
            assert isinstance(page, ChunkPage)
            assert len(page.chunks) == min(23, 900 - len(found))
            found += [chunk.body for chunk in page.chunks]
            after = page.last
        assert found == bodies
        assert [body for _, body in shown(await store.chunks(one.id))] == bodies
        page = await store.chunks(one.id, ChunkPosition(1, 10), limit_bytes=8)
        assert shown(page) == [("1-11", b"010"), ("1-12", b"011")]


async def test_a_chunk_above_the_limit_is_returned_alone(store: ResultStore) -> None:
    one = task()
    big = bytes(range(256)) * 1024
    with fail_after(TIMEOUT):
        await started(store, one)
        assert await store.append([adds(one, 1, b"small", big, big, b"last")]) == [True]
        assert shown(await store.chunks(one.id)) == [("1-1", b"small")]
        assert shown(await store.chunks(one.id, ChunkPosition(1, 1))) == [("1-2", big)]
        assert shown(await store.chunks(one.id, ChunkPosition(1, 3))) == [("1-4", b"last")]
        assert len(shown(await store.chunks(one.id, limit_bytes=1 << 20))) == 4


async def test_a_repeated_append_adds_nothing_twice(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        assert await store.append([adds(one, 1, b"a", b"b")]) == [True]
        before = await record_of(store, one)
        assert await store.append([adds(one, 1, b"a", b"b")]) == [True]
        assert await record_of(store, one) == before
        assert await store.append([adds(one, 2, b"b", b"c")]) == [True]
        assert shown(await store.chunks(one.id)) == [("1-1", b"a"), ("1-2", b"b"), ("1-3", b"c")]


async def test_an_append_is_refused_unless_its_run_is_the_present_one(store: ResultStore) -> None:
    never, ended, withdrawn, released, overtaken, unknown = (task() for _ in range(6))
    with fail_after(TIMEOUT):
        await started(store, ended, released, overtaken)
        await store.create([never, withdrawn])
        await store.withdraw([withdrawn])
        await store.finish([cancelled(ended)])
        await store.release([ReleasedTask(task_id=released.id, attempt=1)])
        await store.start([overtaken], TWO, attempts=MANY)
        tasks = [never, ended, withdrawn, released, overtaken, unknown]
        before = await store.fetch([one.id for one in tasks])
        assert await store.append([adds(one, 1, b"x") for one in tasks]) == [False] * 6
        assert await store.fetch([one.id for one in tasks]) == before
        assert await store.append([adds(overtaken, 1, b"y", attempt=2)]) == [True]
        assert await store.append([adds(overtaken, 1, b"x")]) == [False]


async def test_an_append_that_would_leave_a_gap_is_refused(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        assert await store.append([adds(one, 2, b"b")]) == [False]
        assert await store.append([adds(one, 1, b"a"), adds(one, 3, b"c")]) == [True, False]
        assert shown(await store.chunks(one.id)) == [("1-1", b"a")]


async def test_an_append_without_chunks_asks_whether_there_may_be_any(store: ResultStore) -> None:
    one, ended = task(), task()
    with fail_after(TIMEOUT):
        await started(store, one, ended)
        assert await store.append([adds(one, 1)]) == [True]
        await store.append([adds(one, 1, b"a")])
        await store.finish([cancelled(ended)])
        before = await record_of(store, one)
        asked = [adds(one, 2), adds(one, 1), adds(one, 3), adds(one, 1, attempt=2), adds(ended, 1)]
        assert await store.append(asked) == [True, True, False, False, False]
        assert await record_of(store, one) == before


async def test_a_new_attempt_begins_its_stream_again(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, b"a", b"b", b"c")])
        await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)])
        assert len(shown(await store.chunks(one.id))) == 3  # until another attempt begins
        await store.start([one], TWO, attempts=MANY)
        page = await store.chunks(one.id, ChunkPosition(1, 3))
        assert isinstance(page, ChunkPage)
        assert (page.attempt, page.total, page.last) == (2, 0, ChunkPosition(2, 0))
        assert (await record_of(store, one)).chunks == 0
        assert await store.append([adds(one, 1, b"A", attempt=2)]) == [True]
        assert shown(await store.chunks(one.id, ChunkPosition(1, 3))) == [("2-1", b"A")]
        assert shown(await store.chunks(one.id, ChunkPosition(3, 1))) == [("2-1", b"A")]
        assert shown(await store.chunks(one.id)) == [("2-1", b"A")]


async def test_a_page_is_complete_when_the_task_has_ended_and_no_chunk_follows(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, b"a", b"b")])
        assert await store.finish([streamed(one, 2)]) == [True]
        first = await store.chunks(one.id, limit=1)
        assert isinstance(first, ChunkPage)
        assert not first.complete
        second = await store.chunks(one.id, first.last, limit=1, beyond=first.revision)
        assert isinstance(second, ChunkPage)
        assert second.complete
        outcome = (await record_of(store, one)).outcome
        assert outcome is not None
        assert (outcome.chunks, outcome.body) == (2, b"")


async def test_a_stream_without_chunks_is_complete_at_once(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        assert await store.finish([streamed(one, 0)]) == [True]
        page = await store.chunks(one.id)
        assert isinstance(page, ChunkPage)
        assert (page.complete, page.chunks, page.total) == (True, [], 0)


async def test_a_success_counts_only_with_all_of_its_chunks(store: ResultStore) -> None:
    short, long = task(), task()
    with fail_after(TIMEOUT):
        await started(store, short, long)
        await store.append([adds(short, 1, b"a"), adds(long, 1, b"a")])
        assert await store.finish([streamed(short, 2), streamed(long, 0)]) == [False, False]
        assert (await record_of(store, short)).state is TaskState.RUNNING
        assert await store.finish([streamed(short, 1)]) == [True]
        assert await store.finish([streamed(short, 1)]) == [True]


async def test_an_outcome_of_an_earlier_attempt_does_not_end_a_stream(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one, attempts=2)
        await store.append([adds(one, 1, b"A", attempt=2)])
        failed = replace(failure(one), chunks=1)
        assert await store.finish([failed]) == [False]
        assert await store.finish([streamed(one, 1)]) == [False]
        assert await store.finish([replace(failed, attempt=2, chunks=7)]) == [True]
        assert shown(await store.chunks(one.id)) == [("2-1", b"A")]


async def test_chunks_of_a_cancelled_task_can_still_be_read(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, b"a")])
        assert await store.finish([cancelled(one)]) == [True]
        page = await store.chunks(one.id)
        assert isinstance(page, ChunkPage)
        assert (page.complete, page.state, shown(page)) == (True, TaskState.CANCELLED, [("1-1", b"a")])


async def test_a_reset_task_has_no_chunks(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, b"a")])
        await store.finish([death(one)])
        assert await store.reset([one]) == [True]
        assert (await record_of(store, one)).chunks == 0
        assert shown(await store.chunks(one.id)) == []
        await store.start([one], TWO, attempts=MANY)
        assert await store.append([adds(one, 1, b"A", attempt=2)]) == [True]
        assert shown(await store.chunks(one.id)) == [("2-1", b"A")]


async def test_chunks_of_an_unknown_task_are_missing(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        assert await store.chunks(new_task_id()) is Missing.UNKNOWN
        assert await store.chunks(new_task_id(), beyond=0) is Missing.UNKNOWN


async def test_many_streams_are_appended_to_together(store: ResultStore) -> None:
    tasks = [task() for _ in range(150)]
    with fail_after(TIMEOUT):
        await started(store, *tasks)
        for nth in (1, 2):
            appends = [adds(one, 2 * nth - 1, b"%d %d" % (index, nth), b"x") for index, one in enumerate(tasks)]
            assert await store.append(appends) == [True] * 150
        for index, one in enumerate(tasks):
            bodies = [body for _, body in shown(await store.chunks(one.id))]
            assert bodies == [b"%d 1" % index, b"x", b"%d 2" % index, b"x"]


async def test_a_reader_waits_for_the_next_chunk_and_for_the_end(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        async with peer(adapter, store) as reader:
            pages: list[ChunkPage] = []

            async def read() -> None:
                page = await reader.chunks(one.id)
                while isinstance(page, ChunkPage) and not page.complete:
                    page = await reader.chunks(one.id, page.last, beyond=page.revision)
                    assert isinstance(page, ChunkPage)
                    pages.append(page)

            async with create_task_group() as tg:
                tg.start_soon(read)
                await until_waiting(reader, 1)
                await store.append([adds(one, 1, b"a")])
                while not any(page.chunks for page in pages):
                    await until_waiting(reader, 1)
                await store.append([adds(one, 2, b"b", b"c")])
                await store.finish([streamed(one, 3)])
            assert [body for page in pages for _, body in shown(page)] == [b"a", b"b", b"c"]


async def test_a_reader_learns_of_a_new_attempt_without_chunks(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        await store.append([adds(one, 1, b"a")])
        async with peer(adapter, store) as reader:
            page = await reader.chunks(one.id)
            assert isinstance(page, ChunkPage)
            found: list[ChunkPage | Missing] = []

            async def read(after: ChunkPage) -> None:
                found.append(await reader.chunks(one.id, after.last, beyond=after.revision))

            async with create_task_group() as tg:
                tg.start_soon(read, page)
                await until_waiting(reader, 1)
                await store.start([one], TWO, attempts=MANY)
            (again,) = found
            assert isinstance(again, ChunkPage)
            assert (again.attempt, again.total, again.last) == (2, 0, ChunkPosition(2, 0))


async def test_a_call_that_waits_for_the_end_is_not_disturbed_by_chunks(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await started(store, one)
        async with peer(adapter, store) as reader:
            found: list[TaskRecord | Missing] = []

            async def wait() -> None:
                found.append(await reader.wait_for_change(one.id, after=0, until_terminal=True))

            async with create_task_group() as tg:
                tg.start_soon(wait)
                await until_waiting(reader, 1)
                await store.append([adds(one, 1, b"a")])
                assert not found
                await store.finish([streamed(one, 1)])
            (record,) = found
            assert isinstance(record, TaskRecord)
            assert (record.state, record.chunks) == (TaskState.SUCCEEDED, 1)


async def test_a_reader_that_is_far_behind_gets_every_chunk_in_order(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    bodies = [b"%03d" % number + b"x" * 3000 for number in range(1, 61)]
    with fail_after(TIMEOUT):
        await started(store, one)
        async with peer(adapter, store) as reader:
            page = await reader.chunks(one.id, ChunkPosition(1, 0), beyond=0)
            for number, body in enumerate(bodies, 1):
                await store.append([adds(one, number, body)])
            found: list[tuple[str, bytes]] = []
            while len(found) < len(bodies):
                assert isinstance(page, ChunkPage)
                page = await reader.chunks(one.id, page.last, limit=7, beyond=page.revision)
                found += shown(page)
            assert found == [(f"1-{number}", body) for number, body in enumerate(bodies, 1)]


async def test_readers_of_one_stream_at_one_store_do_not_take_chunks_from_each_other(
    adapter: Adapter, store: ResultStore
) -> None:
    one = task()
    found: dict[int, list[bytes]] = {1: [], 2: [], 5: []}
    with fail_after(TIMEOUT):
        await started(store, one)
        async with peer(adapter, store) as reader, create_task_group() as tg:

            async def read(limit: int) -> None:
                page = await reader.chunks(one.id)
                while isinstance(page, ChunkPage) and not page.complete:
                    page = await reader.chunks(one.id, page.last, limit=limit, beyond=page.revision)
                    found[limit] += [body for _, body in shown(page)]

            for limit in found:
                tg.start_soon(read, limit)
            await until_waiting(reader, len(found))
            for number in range(1, 31):
                await store.append([adds(one, number, b"%d" % number)])
            await store.finish([streamed(one, 30)])
    assert list(found.values()) == [[b"%d" % number for number in range(1, 31)]] * 3
