"""The tasks that a model has made end with its own, and with the call that waits for them."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

import hub
from hub.task import PARENT_ENDED, Ancestor
from hub.types import ModelName, TaskId, TaskState
from tests.model.calls.helpers import (
    SOON,
    TIMEOUT,
    System,
    ask,
    echo,
    model,
    plain_model,
    until,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_cancelled_task_ends_its_grandchildren(system: System) -> None:
    running = Counter[str]()

    async def runs(_: str) -> str:
        running["bottom"] += 1
        try:
            await anyio.sleep_forever()
        finally:
            running["bottom"] -= 1
        return ""

    bottom = model("Bottom", runs)

    async def passes(text: str) -> str:
        return (await hub.current_task().call(bottom, ask(text))).reply

    middle = model("Middle", passes)

    async def fans_out(_: str) -> str:
        async with anyio.create_task_group() as tg:
            for number in range(3):
                tg.start_soon(hub.current_task().call, middle, ask(str(number)))
        return ""

    top = model("Top", fans_out)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(top, middle, bottom):
            task = await system.send(top)
            await until(lambda: running["bottom"] == 3)
            await system.cancel(task)
            with anyio.fail_after(SOON):
                while running["bottom"] or any(each.statistics().in_flight for each in system.workers.values()):
                    await anyio.sleep(0.01)
            for each in (middle, bottom):
                assert system.workers[each.name].statistics().stopped == 3


async def test_a_call_that_the_caller_cancels_ends(system: System) -> None:
    running: list[str] = []
    left: list[str] = []

    async def runs(text: str) -> str:
        running.append(text)
        try:
            await anyio.sleep_forever()
        finally:
            left.append(text)
        return ""

    below = model("Below", runs)

    async def process(_: str) -> str:
        async with anyio.create_task_group() as tg:
            tg.start_soon(hub.current_task().call, below, ask("too slow"))
            while not running:
                await anyio.sleep(0.01)
            tg.cancel_scope.cancel("enough")
        with anyio.move_on_after(SOON):
            while not left:
                await anyio.sleep(0.01)
        return left[0]

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above)) == "too slow"


async def test_a_child_has_the_deadline_of_its_parent_or_an_earlier_one(system: System) -> None:
    deadlines: list[float | None] = []

    async def tells(_: str) -> str:
        deadlines.append(hub.current_task().deadline)
        return ""

    below = model("Below", tells)

    async def process(_: str) -> str:
        await hub.current_task().call(below, ask("a"))
        with anyio.fail_after(5):
            await hub.current_task().call(below, ask("b"))
        return ""

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            task = await system.send(above, seconds=100)
            await system.reply(task)
    assert task.deadline is not None
    parents, earlier = deadlines
    assert parents is not None
    assert earlier is not None
    assert task.deadline - 1 < parents <= task.deadline
    assert earlier < task.deadline - 90


async def test_the_deadline_of_the_parent_ends_both(system: System) -> None:
    running: list[str] = []

    async def runs(text: str) -> str:
        running.append(text)
        try:
            await anyio.sleep_forever()
        finally:
            running.clear()
        return ""

    below = model("Below", runs)

    async def process(text: str) -> str:
        return (await hub.current_task().call(below, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            task = await system.send(above, "x", seconds=1)
            await until(lambda: bool(running))
            assert (await system.record(task.id)).state is TaskState.EXPIRED
            with anyio.fail_after(SOON):
                while running:
                    await anyio.sleep(0.01)


async def test_a_task_that_waits_in_a_queue_without_an_instance_ends_with_its_parent(system: System) -> None:
    below = model("Below", echo)
    children: list[TaskId] = []

    async def process(_: str) -> str:
        child = await hub.current_task().submit(below, ask("waits"))
        children.append(child.id)
        return (await child.result()).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        await system.broker.declare(ModelName(below.name))
        async with system.serving(above):
            task = await system.send(above)
            await until(lambda: bool(children))
            await system.cancel(task)
            record = await system.record(children[0])
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == PARENT_ENDED
    assert record.parent == task.id


async def test_a_thread_that_waits_for_a_call_is_released_when_its_task_is_cancelled(system: System) -> None:
    running: list[str] = []
    errors: list[BaseException] = []

    async def runs(text: str) -> str:
        running.append(text)
        try:
            await anyio.sleep_forever()
        finally:
            running.clear()
        return ""

    below = model("Below", runs)

    def process(text: str) -> str:
        try:
            return hub.current_task().call_sync(below, ask(text)).reply
        except BaseException as error:
            errors.append(error)
            raise

    above = plain_model("Above", process, concurrency=1)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            task = await system.send(above, "x")
            await until(lambda: bool(running))
            await system.cancel(task)
            with anyio.fail_after(SOON):
                while running or not errors:
                    await anyio.sleep(0.01)


async def test_a_call_after_the_end_of_its_task_is_refused(system: System) -> None:
    below = model("Below", echo)
    kept: list[hub.CurrentTask] = []
    errors: list[str] = []

    async def process(text: str) -> str:
        if kept:
            try:
                await kept[0].call(below, ask(text))
            except hub.RunOver as error:
                errors.append(error.task)
        kept.append(hub.current_task())
        return text

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            first = await system.send(above, "1")
            await system.reply(first)
            await system.reply(await system.send(above, "2"))
    assert errors == [first.id]


async def test_a_child_that_was_submitted_while_its_parent_ended_is_not_run(system: System) -> None:
    runs: list[str] = []

    async def tells(text: str) -> str:
        runs.append(text)
        return text

    above, below = model("Above", echo), model("Below", tells)
    with anyio.fail_after(TIMEOUT):
        parent = await system.send(above)
        await system.cancel(parent)  # before the child is there, so that ending the parent did not reach it
        async with system.serving(below):
            child = await system.send(below, ancestors=(Ancestor(parent.id, parent.model),))
            assert (await system.failure(child)).code == PARENT_ENDED
    assert runs == []


async def test_a_child_is_ended_by_its_own_instance_when_what_ended_the_parent_did_not_reach_it(system: System) -> None:
    running = Counter[str]()

    async def runs(_: str) -> str:
        running["child"] += 1
        try:
            await anyio.sleep_forever()
        finally:
            running["child"] -= 1
        return ""

    above, below = model("Above", echo), model("Below", runs)
    with anyio.fail_after(TIMEOUT):
        parent = await system.send(above)
        async with system.serving(below):
            child = await system.send(below, ancestors=(Ancestor(parent.id, parent.model),))  # it is not adopted
            await until(lambda: running["child"] == 1)
            await system.cancel(parent)
            assert (await system.failure(child)).code == PARENT_ENDED
            with anyio.fail_after(SOON):
                while running["child"]:
                    await anyio.sleep(0.01)
