from __future__ import annotations

import weakref
from collections.abc import Container, Sequence
from contextlib import suppress

import anyio
import pytest

from hub.concurrency.batching import Batcher, BatcherStatistics, BatchRetry
from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConfigurationError, ConnectionLost

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Server:
    """Doubles numbers in batches; each batch waits for `release`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.release = anyio.Event()
        self.error: Exception | None = None

    async def flush(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 for item in items]


async def test_calls_that_arrive_while_a_batch_is_under_way_make_the_next_batch() -> None:
    server = Server()
    results: dict[int, int] = {}
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:

            async def call(number: int) -> None:
                results[number] = await double.submit(number)

            tg.start_soon(call, 1)
            await anyio.wait_all_tasks_blocked()
            for number in range(2, 10):
                tg.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
            assert double.statistics().waiting == 8
            server.release.set()
    assert [sorted(batch) for batch in server.batches] == [[1], list(range(2, 10))]
    assert results == {number: number * 2 for number in range(1, 10)}


class Item:
    """Can be referred to weakly."""


async def test_an_item_is_not_kept_when_its_batch_is_done() -> None:
    async def flush(items: Sequence[Item]) -> Sequence[None]:
        return [None] * len(items)

    with anyio.fail_after(5):
        async with Batcher(flush, name="test") as batcher:
            item = Item()
            kept = weakref.ref(item)
            await batcher.submit(item)
            del item
            await anyio.wait_all_tasks_blocked()
            assert kept() is None


async def test_no_batch_is_larger_than_the_limit() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test", limit=4) as double, anyio.create_task_group() as tg:
            tg.start_soon(double.submit, 0)
            await anyio.wait_all_tasks_blocked()
            for number in range(1, 11):
                tg.start_soon(double.submit, number)
            await anyio.wait_all_tasks_blocked()
            server.release.set()
    assert [len(batch) for batch in server.batches] == [1, 4, 4, 2]


async def test_an_error_of_a_batch_is_raised_in_each_caller_as_an_instance_of_its_own() -> None:
    server = Server()
    server.error = ConnectionLost("server", "test")
    server.release.set()
    errors: list[ConnectionLost] = []
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:

            async def call(number: int) -> None:
                with pytest.raises(ConnectionLost) as caught:
                    await double.submit(number)
                errors.append(caught.value)

            for number in range(3):
                tg.start_soon(call, number)
    assert [str(error) for error in errors] == ["connection to server lost: test"] * 3
    assert len({id(error) for error in errors}) == 3


async def test_a_caller_that_is_cancelled_before_its_batch_starts_takes_its_item_back() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:
            tg.start_soon(double.submit, 1)
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(double.submit, 2)
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            server.release.set()
            assert await double.submit(3) == 6
    assert server.batches == [[1], [3]]


async def test_batches_overlap_up_to_the_concurrency() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test", concurrency=2) as double, anyio.create_task_group() as tg:
            tg.start_soon(double.submit, 1)
            await anyio.wait_all_tasks_blocked()
            tg.start_soon(double.submit, 2)
            await anyio.wait_all_tasks_blocked()
            assert server.batches == [[1], [2]]
            server.release.set()


async def test_a_bug_in_flush_ends_the_block() -> None:
    async def flush(_items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("bug")

    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with Batcher(flush, name="test") as call:
            await call.submit(1)
    assert caught.group_contains(RuntimeError, match="bug")


async def test_a_call_before_the_block_is_refused() -> None:
    double = Batcher(Server().flush, name="test")
    with pytest.raises(anyio.ClosedResourceError):
        await double.submit(1)


async def test_a_batcher_that_was_idle_uses_its_whole_concurrency() -> None:
    server = Server()
    server.release.set()
    with anyio.fail_after(5):
        async with (
            Batcher(server.flush, name="test", limit=1, concurrency=4) as double,
            anyio.create_task_group() as tg,
        ):
            assert await double.submit(1) == 2
            await anyio.wait_all_tasks_blocked()
            server.release = anyio.Event()
            for number in range(2, 8):
                tg.start_soon(double.submit, number)
            await anyio.wait_all_tasks_blocked()
            assert len(server.batches[1:]) == 4
            assert double.statistics() == BatcherStatistics(waiting=2, batches=5, calls=5)
            server.release.set()


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "waiting"])
async def test_the_end_of_the_block_ends_each_call(*, under_way: bool) -> None:
    server = Server()
    ended: list[str] = []

    async def call(double: Batcher[int, int], number: int) -> None:
        try:
            await double.submit(number)
        except anyio.ClosedResourceError:
            ended.append("closed")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as callers:
            async with Batcher(server.flush, name="test") as double:
                callers.start_soon(call, double, 1)  # noqa: ASYNC111 - the callers outlive the batcher: that is the case
                await anyio.wait_all_tasks_blocked()
                if not under_way:
                    callers.start_soon(call, double, 2)  # noqa: ASYNC111 - the callers outlive the batcher: that is the case
                    await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.ClosedResourceError):
                await double.submit(3)
    assert ended == ["closed"] * (1 if under_way else 2)
    assert server.batches == [[1]]


async def test_a_bug_in_flush_ends_the_calls_of_other_tasks_too() -> None:
    causes: list[BaseException | None] = []

    async def flush(_items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("bug")

    async def call(double: Batcher[int, int]) -> None:
        with pytest.raises(anyio.ClosedResourceError) as caught:
            await double.submit(1)
        causes.append(caught.value.__cause__)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as callers:
            with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="bug")):
                async with Batcher(flush, name="test") as double:
                    callers.start_soon(call, double)  # noqa: ASYNC111 - the callers outlive the batcher: that is the case
                    await anyio.sleep_forever()
    assert [str(cause) for cause in causes] == ["bug"]


async def test_a_wrong_number_of_results_is_a_bug() -> None:
    async def flush(_items: Sequence[int]) -> Sequence[int]:
        return [1, 2, 3]

    with anyio.fail_after(5), pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with Batcher(flush, name="test") as double, anyio.create_task_group() as tg:
            tg.start_soon(suppressed, double)
            await anyio.sleep_forever()


async def suppressed(double: Batcher[int, int]) -> None:
    with suppress(anyio.ClosedResourceError):
        await double.submit(1)


async def test_callers_that_leave_while_the_server_is_frozen_leave_nothing_behind() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with (
            Batcher(server.flush, name="test", limit=10) as double,
            anyio.create_task_group() as tg,
        ):
            tg.start_soon(double.submit, 0)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as inner:
                for number in range(1, 36):
                    inner.start_soon(double.submit, number)
                await anyio.wait_all_tasks_blocked()
                assert double.statistics().waiting == 35
                inner.cancel_scope.cancel()
            assert double.statistics().waiting == 0
            tg.start_soon(double.submit, 99)
            await anyio.wait_all_tasks_blocked()
            assert double.statistics().waiting == 1
            server.release.set()
    assert server.batches == [[0], [99]]


class Flaky:
    """Doubles numbers, but for the calls with these numbers, which fail; each call waits for `frozen`, if it is there."""

    def __init__(self, failures: Container[int], error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionLost("server", "test")
        self.attempts: list[list[int]] = []
        self.frozen: anyio.Event | None = None

    async def flush(self, items: Sequence[int]) -> Sequence[int]:
        number = len(self.attempts)
        self.attempts.append(list(items))
        await anyio.lowlevel.checkpoint()
        if self.frozen is not None:
            await self.frozen.wait()
        if number in self.failures:
            raise self.error
        return [item * 2 for item in items]


QUICK = ExponentialBackoff(initial=0.001, maximum=0.002)


async def test_a_batch_that_fails_is_retried_as_a_whole() -> None:
    server, retried = Flaky(failures=range(1, 4)), list[Exception]()
    server.frozen = anyio.Event()
    retry = BatchRetry(seconds=1000, backoff=QUICK, on_retry=lambda error, _: retried.append(error))
    results: dict[int, int] = {}

    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test", retry=retry) as double, anyio.create_task_group() as tg:

            async def call(number: int) -> None:
                results[number] = await double.submit(number)

            tg.start_soon(call, 1)
            await anyio.wait_all_tasks_blocked()
            tg.start_soon(call, 2)
            tg.start_soon(call, 3)
            await anyio.wait_all_tasks_blocked()
            server.frozen.set()
    assert results == {1: 2, 2: 4, 3: 6}
    assert [sorted(attempt) for attempt in server.attempts] == [[1], *[[2, 3]] * 4]
    assert len(retried) == 3
    assert double.statistics() == BatcherStatistics(waiting=0, batches=2, calls=3)


async def test_the_error_is_raised_when_the_time_to_retry_is_over(second: float, virtual_time: bool) -> None:
    start, server = anyio.current_time(), Flaky(failures=range(1000))
    retry = BatchRetry(seconds=30 * second, backoff=ExponentialBackoff(initial=second, maximum=4 * second))
    async with Batcher(server.flush, name="test", retry=retry) as double:
        with pytest.raises(ConnectionLost):
            await double.submit(1)
    if virtual_time:
        assert 26 <= anyio.current_time() - start <= 30
    assert len(server.attempts) > 5


async def test_an_error_that_is_not_to_be_retried_is_raised_at_once() -> None:
    server = Flaky([0], ConfigurationError("wrong"))
    async with Batcher(server.flush, name="test", retry=BatchRetry(seconds=1000)) as double:
        with pytest.raises(ConfigurationError):
            await double.submit(1)
    assert len(server.attempts) == 1


async def test_what_waits_behind_a_batch_that_is_retried_has_the_time_from_its_own_submission(
    second: float, virtual_time: bool
) -> None:
    start, server, ended = anyio.current_time(), Flaky(failures=range(1000)), dict[int, float]()
    retry = BatchRetry(seconds=30 * second, backoff=ExponentialBackoff(initial=second, maximum=second))
    async with Batcher(server.flush, name="test", retry=retry) as double, anyio.create_task_group() as tg:

        async def call(number: int) -> None:
            with pytest.raises(ConnectionLost):
                await double.submit(number)
            ended[number] = anyio.current_time() - start

        tg.start_soon(call, 1)
        await anyio.sleep(20 * second)
        tg.start_soon(call, 2)
    assert list(ended) == [1, 2]
    if virtual_time:
        assert 29 <= ended[1] <= 30
        assert 49 <= ended[2] <= 50


async def test_items_of_callers_that_have_left_are_not_part_of_the_next_attempt() -> None:
    server = Flaky(failures=[1])
    server.frozen = anyio.Event()
    with anyio.fail_after(5):
        async with (
            Batcher(server.flush, name="test", retry=BatchRetry(seconds=1000, backoff=QUICK)) as double,
            anyio.create_task_group() as tg,
        ):
            tg.start_soon(double.submit, 0)
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as inner:
                inner.start_soon(double.submit, 1)
                tg.start_soon(double.submit, 2)
                await anyio.wait_all_tasks_blocked()
                server.frozen.set()
                server.frozen = anyio.Event()
                await anyio.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            server.frozen.set()
    assert [sorted(attempt) for attempt in server.attempts] == [[0], [1, 2], [2]]


async def test_each_call_of_a_batch_has_the_timeout_from_its_own_submission(second: float, virtual_time: bool) -> None:
    server = Server()
    ended: dict[int, tuple[float, int | None]] = {}
    async with Batcher(server.flush, name="test", timeout=5 * second) as double, anyio.create_task_group() as tg:
        began = anyio.current_time()

        async def call(number: int) -> None:
            result = None
            with suppress(TimeoutError):
                result = await double.submit(number)
            ended[number] = (round((anyio.current_time() - began) / second), result)

        for number in range(3):  # the first one is under way alone, the others wait behind it
            tg.start_soon(call, number)
            await anyio.sleep(2 * second)
        await anyio.sleep(2 * second)  # 8 s since the beginning
        server.release.set()
    assert {number: result for number, (_, result) in ended.items()} == {0: None, 1: None, 2: 4}
    assert server.batches == [[0], [2]], "the item of a call that has ended is taken back"
    if virtual_time:
        assert [ended[number][0] for number in range(3)] == [5, 7, 8]


async def test_a_call_in_time_is_not_disturbed_by_the_timeout(second: float) -> None:
    server = Server()
    server.release.set()
    async with Batcher(server.flush, name="test", timeout=5 * second) as double:
        for number in range(3):
            assert await double.submit(number) == number * 2
            await anyio.sleep(4 * second)
    assert server.batches == [[0], [1], [2]]
