from __future__ import annotations

from contextvars import ContextVar, copy_context

import anyio
import pytest

from hub.concurrency.in_context import InContext

variable = ContextVar("variable", default="-")


async def test_a_function_runs_under_the_variables_of_its_caller_and_what_it_sets_stays_there() -> None:
    async def exchange(value: str) -> str:
        await anyio.lowlevel.checkpoint()
        before = variable.get()
        variable.set(value)
        await anyio.lowlevel.checkpoint()
        return f"{before} {variable.get()}"

    variable.set("caller")
    context = copy_context()
    variable.set("mine")
    assert await InContext(context, exchange, ("changed",)) == "caller changed"
    assert variable.get() == "mine"
    assert context[variable] == "changed"


async def test_a_cancellation_is_raised_where_the_function_waits() -> None:
    reached: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            reached.append(variable.get())

    async def run() -> None:
        await InContext(context, wait, ())

    variable.set("caller")
    context = copy_context()
    variable.set("mine")
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert reached == ["caller"]


async def test_an_error_is_raised_unchanged() -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await InContext(copy_context(), fail, ())
