from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from hub.concurrency.batching import Batcher
from hub.errors import ConnectionLost

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Server:
    """Doubles numbers in groups; each group waits for `release`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.release = anyio.Event()
        self.error: Exception | None = None

    async def flush(self, items: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(items))
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return [item * 2 for item in items]


async def test_calls_that_come_while_a_group_is_under_way_make_the_next_group() -> None:
    server = Server()
    results: dict[int, int] = {}
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:

            async def call(number: int) -> None:
                results[number] = await double(number)

            tg.start_soon(call, 1)
            await anyio.wait_all_tasks_blocked()
            for number in range(2, 10):
                tg.start_soon(call, number)
            await anyio.wait_all_tasks_blocked()
            assert double.statistics().waiting == 8
            server.release.set()
    assert [sorted(group) for group in server.groups] == [[1], list(range(2, 10))]
    assert results == {number: number * 2 for number in range(1, 10)}


async def test_no_group_is_larger_than_the_limit() -> None:
    server = Server()
    server.release.set()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test", limit=4) as double, anyio.create_task_group() as tg:
            for number in range(10):
                tg.start_soon(double, number)
    assert [len(group) for group in server.groups] == [4, 4, 2]


async def test_an_error_of_a_group_reaches_each_of_its_callers_as_an_error_of_its_own() -> None:
    server = Server()
    server.error = ConnectionLost("server", "test")
    server.release.set()
    errors: list[ConnectionLost] = []
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:

            async def call(number: int) -> None:
                with pytest.raises(ConnectionLost) as caught:
                    await double(number)
                errors.append(caught.value)

            for number in range(3):
                tg.start_soon(call, number)
    assert [str(error) for error in errors] == ["link to server lost: test"] * 3
    assert len({id(error) for error in errors}) == 3


async def test_a_caller_that_is_cancelled_while_it_waits_takes_its_item_back() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test") as double, anyio.create_task_group() as tg:
            tg.start_soon(double, 1)
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(double, 2)
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            server.release.set()
            assert await double(3) == 6
    assert server.groups == [[1], [3]]


async def test_lanes_let_groups_overlap() -> None:
    server = Server()
    with anyio.fail_after(5):
        async with Batcher(server.flush, name="test", lanes=2) as double, anyio.create_task_group() as tg:
            tg.start_soon(double, 1)
            await anyio.wait_all_tasks_blocked()
            tg.start_soon(double, 2)
            await anyio.wait_all_tasks_blocked()
            assert server.groups == [[1], [2]]
            server.release.set()


async def test_a_bug_in_the_flush_ends_the_block() -> None:
    async def flush(_items: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("bug")

    with anyio.fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with Batcher(flush, name="test") as call:
            await call(1)
    assert caught.group_contains(RuntimeError, match="bug")


async def test_a_call_outside_the_block_is_refused() -> None:
    double = Batcher(Server().flush, name="test")
    with pytest.raises(anyio.ClosedResourceError):
        await double(1)
