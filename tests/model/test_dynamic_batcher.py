"""The end of a batcher, and batches that are cancelled before they begin."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.model.execution.dynamic_batcher import DynamicBatcher, OnAbandoned
from tests.model.fakes import TIMEOUT, until

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Calls:
    """Doubles numbers, once `release` is set."""

    def __init__(self) -> None:
        self.items: list[list[int]] = []
        self.release = anyio.Event()

    async def double(self, items: Sequence[int], _: OnAbandoned) -> Sequence[int | Exception]:
        self.items.append(list(items))
        await self.release.wait()
        return [2 * item for item in items]


def batcher(calls: Calls, *, limit: int = 2, wait: float = 60.0) -> DynamicBatcher[int, int]:
    return DynamicBatcher(calls.double, name="test", limit=limit, wait=wait, concurrency=1)


def ignore(_ended: anyio.Event) -> None: ...


async def test_a_batcher_is_used_inside_its_block() -> None:
    unused = batcher(Calls())
    with pytest.raises(anyio.ClosedResourceError):
        await unused.submit(1, ignore)
    async with unused:
        await checkpoint()
    with pytest.raises(anyio.ClosedResourceError):
        await unused.submit(1, ignore)


@pytest.mark.parametrize("count", [1, 2], ids=["waiting", "running"])
async def test_callers_get_an_error_when_the_block_ends(count: int) -> None:
    calls = Calls()
    errors: list[Exception] = []

    async def call(number: int) -> None:
        try:
            await gathering.submit(number, ignore)
        except anyio.ClosedResourceError as error:
            errors.append(error)

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            async with batcher(calls) as gathering:
                for number in range(count):
                    tg.start_soon(call, number)
                await anyio.wait_all_tasks_blocked()
                assert len(calls.items) == count - 1
    assert len(errors) == count


async def test_a_batch_that_all_callers_leave_before_it_begins_is_not_processed() -> None:
    calls = Calls()
    with anyio.fail_after(TIMEOUT):
        async with batcher(calls, limit=1) as gathering:
            for rounds in range(10):  # of the event loop, between the submit and the cancellation
                async with anyio.create_task_group() as tg:
                    tg.start_soon(gathering.submit, rounds, ignore)
                    for _ in range(rounds):
                        await checkpoint()
                    tg.cancel_scope.cancel()
                await until(lambda: gathering.statistics().running == 0)
            calls.release.set()
            assert await gathering.submit(50, ignore) == 100
    assert all(calls.items)
    assert calls.items[-1] == [50]


async def test_an_item_that_is_alone_is_in_a_batch_of_its_own() -> None:
    calls = Calls()
    calls.release.set()
    results: list[int] = []

    async def call(number: int) -> None:
        results.append(await gathering.submit(number, ignore, alone=number == 2))

    with anyio.fail_after(TIMEOUT):
        async with batcher(calls, limit=4, wait=0.0) as gathering, anyio.create_task_group() as tg:
            for number in (1, 2, 3):
                tg.start_soon(call, number)
    assert sorted(results) == [2, 4, 6]
    assert [2] in calls.items
