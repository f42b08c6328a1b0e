from __future__ import annotations

from collections import deque

import anyio
import pytest

from hub.concurrency.notify import Notifier

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_notification_wakes_every_waiter_and_no_later_one() -> None:
    changed, woken = Notifier(), list[str]()

    async def wait(name: str) -> None:
        await changed.wait()
        woken.append(name)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(wait, "one")
            tg.start_soon(wait, "two")
            await anyio.wait_all_tasks_blocked()
            changed.notify()
            tg.start_soon(wait, "late")
            await anyio.wait_all_tasks_blocked()
            assert sorted(woken) == ["one", "two"]
            changed.notify()
    assert woken[2:] == ["late"]


async def test_a_notification_without_waiters_is_not_kept() -> None:
    changed = Notifier()
    changed.notify()
    with anyio.move_on_after(0.01) as scope:
        await changed.wait()
    assert scope.cancelled_caught


async def test_waiting_for_a_predicate_that_holds_returns_at_once() -> None:
    with anyio.fail_after(5):
        await Notifier().wait_for(lambda: True)


async def test_the_predicate_is_checked_again_after_each_notification() -> None:
    changed, numbers, seen = Notifier(), list[int](), list[int]()

    async def wait() -> None:
        await changed.wait_for(lambda: len(numbers) >= 3)
        seen.append(len(numbers))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(wait)
            for number in range(3):
                await anyio.wait_all_tasks_blocked()
                assert not seen
                numbers.append(number)
                changed.notify()
    assert seen == [3]


async def test_no_item_of_a_queue_is_missed_and_none_is_taken_twice() -> None:
    """More consumers than items at any time: each finds the queue empty after some of its wake-ups."""
    changed, queue, taken = Notifier(), deque[int](), list[int]()

    async def consume() -> None:
        while True:
            await changed.wait_for(lambda: queue)
            taken.append(queue.popleft())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            for _ in range(4):
                tg.start_soon(consume)
            for number in range(100):
                queue.append(number)
                changed.notify()
                if number % 3 == 0:
                    await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
    assert sorted(taken) == list(range(100))


async def test_the_predicate_holds_on_return_even_if_another_task_undoes_it_meanwhile() -> None:
    changed, items, seen = Notifier(), ["item"], list[bool]()

    async def wait() -> None:
        await changed.wait_for(lambda: items)
        seen.append(bool(items))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(wait)
            tg.start_soon(anyio.lowlevel.checkpoint)
            await anyio.lowlevel.checkpoint()
            items.clear()
            await anyio.wait_all_tasks_blocked()
            items.append("another")
            changed.notify()
    assert seen == [True]


async def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    changed, woken = Notifier(), list[str]()

    async def wait() -> None:
        await changed.wait()
        woken.append("woken")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await changed.wait()
            assert not woken
            changed.notify()
    assert woken == ["woken"]


async def test_waiting_for_what_holds_is_a_checkpoint() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Notifier().wait_for(lambda: True)
        pytest.fail("a cancelled scope goes on")
    assert scope.cancelled_caught


async def test_an_error_of_the_predicate_reaches_its_waiter_and_no_other_task() -> None:
    changed = Notifier()
    broken = False

    def predicate() -> bool:
        if broken:
            raise ValueError("broken")
        return False

    with anyio.fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="broken")):
        async with anyio.create_task_group() as tg:
            tg.start_soon(changed.wait_for, predicate)
            await anyio.wait_all_tasks_blocked()
            broken = True
            changed.notify()
