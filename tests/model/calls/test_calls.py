"""Models that call models: what they get, and what they are refused."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import sniffio

import hub
from examples.model_a.v1.model_a_pb2 import ModelAResponse
from hub.ports.result_store import MAX_CHILDREN
from hub.task import Task
from hub.types import ModelName, TaskId
from tests.model.calls.helpers import (
    TIMEOUT,
    Process,
    System,
    ask,
    echo,
    model,
    plain_model,
    until,
)
from tests.model.process_models import CallingProcess

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_model_calls_another_by_its_class_and_by_its_name(system: System) -> None:
    below = model("Below", echo)

    async def process(text: str) -> str:
        first = await hub.current_task().call(below, ask(text))
        second = await hub.current_task().call(below.name, ask(first.reply), ModelAResponse)
        return second.reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above, "hello")) == "<<hello>>"
        assert system.workers[above.name].statistics().calls == {(below.name, "succeeded"): 2}


async def test_a_submitted_task_is_waited_for_later_or_cancelled(system: System) -> None:
    stuck: list[str] = []

    async def slowly(text: str) -> str:
        if text == "stuck":
            stuck.append(text)
            await anyio.sleep_forever()
        return text

    below = model("Below", slowly)

    async def process(_: str) -> str:
        task = hub.current_task()
        one, other = await task.submit(below, ask("one")), await task.submit(below, ask("stuck"))
        reply = (await one.result()).reply
        await other.cancel()
        try:
            await other.result()
        except hub.CallFailed as failed:
            return f"{reply} {failed.failure} {failed.task == other.id}"
        return "no error"

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above)) == "one cancelled True"


async def test_many_calls_at_once_are_an_ordinary_task_group(system: System) -> None:
    below = model("Below", echo)

    async def process(_: str) -> str:
        replies: list[str] = [""] * 20

        async def one(number: int) -> None:
            # two of each: equal requests are different calls
            replies[number] = (await hub.current_task().call(below, ask(str(number // 2)))).reply

        async with anyio.create_task_group() as tg:
            for number in range(20):
                tg.start_soon(one, number)
        return " ".join(replies)

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above)) == " ".join(f"<{number // 2}>" for number in range(20))
            assert system.workers[below.name].statistics().attempts == 20


async def test_a_failure_below_is_a_typed_error_above_and_its_failure_unless_it_is_caught(system: System) -> None:
    async def fails(text: str) -> str:
        raise LookupError(text)

    below = model("Below", fails)

    async def process(text: str) -> str:
        try:
            await hub.current_task().call(below, ask("no such thing"))
        except hub.CallFailed as failed:
            if text == "catch":
                return f"{failed.model == below.name} {failed.failure} {failed.type} {failed.text}"
            raise
        return ""

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above, "catch")) == "True model_error LookupError no such thing"
            failure = await system.failure(await system.send(above))
    assert failure.code == "call_failed"
    assert "LookupError: no such thing" in failure.message


async def test_a_circle_is_refused_with_its_path(system: System) -> None:
    names: dict[str, str] = {}

    def calls(who: str) -> Process:
        async def process(text: str) -> str:
            return (await hub.current_task().call(names[who], ask(text), ModelAResponse)).reply

        return process

    one, two, three = model("One", calls("two")), model("Two", calls("three")), model("Three", calls("one"))
    names.update(one=one.name, two=two.name, three=three.name)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(one, two, three):
            failure = await system.failure(await system.send(one))
    assert f"{one.name} -> {two.name} -> {three.name} -> {one.name}" in failure.message
    assert failure.code == "call_failed"
    assert "call_cycle" in failure.message


async def test_a_model_that_calls_itself_is_a_circle(system: System) -> None:
    names: list[str] = []

    async def process(text: str) -> str:
        return (await hub.current_task().call(names[0], ask(text), ModelAResponse)).reply

    one = model("One", process)
    names.append(one.name)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(one):
            assert (await system.failure(await system.send(one))).code == hub.CallCycle.code


async def test_a_child_has_the_trace_of_its_parent(system: System) -> None:
    below = model("Below", echo)
    children: list[TaskId] = []

    async def process(text: str) -> str:
        child = await hub.current_task().submit(below, ask(text))
        children.append(child.id)
        return (await child.result()).reply

    above = model("Above", process)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with anyio.fail_after(TIMEOUT):
        await system.broker.declare(ModelName(below.name))
        async with system.serving(above), system.broker.consume(ModelName(below.name), prefetch=1) as consumer:
            task = await system.send(above, trace=trace)
            (delivery,) = await consumer.receive()
            consumer.ack([delivery])
            sent = Task.decode(delivery.body)
            await until(lambda: bool(children))
            await system.cancel(task)
    assert sent.traceparent == trace
    assert [(each.task, each.model) for each in sent.ancestors] == [(task.id, above.name)]
    assert sent.id == children[0]


async def test_a_model_without_a_queue_is_unavailable(system: System) -> None:
    nowhere = model("Nowhere", echo)

    async def process(text: str) -> str:
        return (await hub.current_task().call(nowhere, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above):
            failure = await system.failure(await system.send(above))
        assert system.workers[above.name].statistics().calls == {(nowhere.name, "refused"): 1}
    assert failure.code == hub.ModelUnavailable.code
    assert nowhere.name in failure.message


async def test_a_task_may_make_a_bounded_number_of_calls(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("hub.stores.redis.commands", "hub.stores.memory.records"):
        monkeypatch.setattr(f"{module}.MAX_CHILDREN", 3)
    below = model("Below", echo)

    async def process(text: str) -> str:
        return " ".join([(await hub.current_task().call(below, ask(f"{text}{number}"))).reply for number in range(4)])

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            failure = await system.failure(await system.send(above))
        assert system.workers[above.name].statistics().calls == {
            (below.name, "succeeded"): 3,
            (below.name, "refused"): 1,
        }
    assert failure.code == hub.TooManyCalls.code
    assert str(MAX_CHILDREN) in failure.message


async def test_a_plain_model_calls_from_its_thread(system: System) -> None:
    below = model("Below", echo)

    def process(text: str) -> str:
        first = hub.current_task().call_sync(below, ask(text))
        return hub.current_task().call_sync(below.name, ask(first.reply), ModelAResponse).reply

    above = plain_model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above, "hello")) == "<<hello>>"


async def test_a_coroutine_is_told_to_await_its_calls(system: System) -> None:
    below = model("Below", echo)

    async def process(text: str) -> str:
        return hub.current_task().call_sync(below, ask(text)).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            failure = await system.failure(await system.send(above))
    assert failure.code == hub.CallsUnavailable.code
    assert "await" in failure.message


async def test_a_request_of_another_type_is_an_error_of_the_caller(system: System) -> None:
    below: Any = model("Below", echo)

    async def process(_: str) -> str:
        wrong: Any = ModelAResponse(reply="no request")
        return str((await hub.current_task().call(below, wrong)).reply)

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            failure = await system.failure(await system.send(above))
    assert failure.type == "TypeError"
    assert "takes a ModelARequest, not ModelAResponse" in failure.message


async def test_an_event_loop_of_the_models_own_making_cannot_call(system: System) -> None:
    below = model("Below", echo)

    async def process(text: str) -> str:
        task = hub.current_task()
        library = sniffio.current_async_library()

        def elsewhere() -> None:
            anyio.run(task.call, below.name, ask(text), ModelAResponse, backend=library)

        await anyio.to_thread.run_sync(elsewhere)
        return ""

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            failure = await system.failure(await system.send(above))
    assert failure.code == hub.CallsUnavailable.code
    assert "await the call in process_request itself" in failure.message


async def test_a_model_in_processes_cannot_call(system: System) -> None:
    with anyio.fail_after(TIMEOUT):
        async with system.serving(CallingProcess):
            failure = await system.failure(await system.send(CallingProcess))
    assert failure.code == hub.CallsUnavailable.code
    assert "run_in_process" in failure.message
