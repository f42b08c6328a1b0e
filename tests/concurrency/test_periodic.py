from __future__ import annotations

import anyio
import pytest

from hub.concurrency.periodic import every


async def beats(count: int, period: float, *, immediately: bool = False) -> list[float]:
    """The times of the first beats, counted from the start of the loop."""
    start, times = anyio.current_time(), list[float]()
    async for _ in every(period, immediately=immediately):
        times.append(anyio.current_time() - start)
        if len(times) == count:
            break
    return times


@pytest.mark.parametrize(("immediately", "first"), [(True, 0), (False, 1)])
async def test_the_first_beat_comes_at_once_or_after_a_period(
    *, immediately: bool, first: int, virtual_time: bool, second: float
) -> None:
    times = await beats(4, second, immediately=immediately)
    assert all(time >= (first + number) * second * 0.999 for number, time in enumerate(times))
    if virtual_time:
        assert times == [first, first + 1, first + 2, first + 3]


async def test_work_within_the_period_does_not_shift_the_schedule(virtual_time: bool, second: float) -> None:
    start, times = anyio.current_time(), list[float]()
    async for _ in every(10 * second):
        times.append(anyio.current_time() - start)
        if len(times) == 3:
            break
        await anyio.sleep(7 * second)
    if virtual_time:
        assert times == [10, 20, 30]
    assert times[2] >= 29.9 * second


async def test_a_late_beat_comes_at_once_and_missed_ones_are_not_made_up_for(virtual_time: bool, second: float) -> None:
    start, times = anyio.current_time(), list[float]()
    async for _ in every(10 * second):
        times.append(anyio.current_time() - start)
        if len(times) == 4:
            break
        if len(times) == 1:
            await anyio.sleep(35 * second)
    if virtual_time:
        assert times == [10, 45, 55, 65]
    assert times[2] - times[1] >= 9.9 * second


async def test_a_beat_whose_wait_was_cancelled_is_still_due_at_its_time(virtual_time: bool, second: float) -> None:
    start, each = anyio.current_time(), every(10 * second)
    for _ in range(3):
        with anyio.move_on_after(2 * second) as scope:
            await anext(each)
        assert scope.cancelled_caught
    await anext(each)
    if virtual_time:
        assert anyio.current_time() - start == 10
    assert anyio.current_time() - start >= 9.9 * second


async def test_a_beat_that_is_due_is_a_checkpoint() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in every(1000, immediately=True):
            pytest.fail("a cancelled scope goes on")
    assert scope.cancelled_caught


async def test_leaving_the_loop_inside_scopes_leaves_the_scopes_whole() -> None:
    """With an async generator that slept in a scope of its own this would be a `RuntimeError`, or a scope left open."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            async for _ in every(1000, immediately=True):
                with anyio.move_on_after(1):
                    await anyio.lowlevel.checkpoint()
                    break
            tg.cancel_scope.cancel()
        with pytest.raises(ValueError, match="of the body"):  # noqa: PT012 - the loop is what is tested
            async for _ in every(1000, immediately=True):
                raise ValueError("of the body")
        await anyio.lowlevel.checkpoint()


async def test_the_clock_starts_at_the_first_iteration(virtual_time: bool, second: float) -> None:
    each = every(10 * second)
    await anyio.sleep(30 * second)
    start = anyio.current_time()
    await anext(each)
    if virtual_time:
        assert anyio.current_time() - start == 10
    assert anyio.current_time() - start >= 9.9 * second
