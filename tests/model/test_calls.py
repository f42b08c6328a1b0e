"""Models that call models: embedded and over RabbitMQ and Redis, in the loop of the instance and in one of the model's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

import anyio
import pytest
import sniffio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import BrokerOptions, open_broker
from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import MAX_CHILDREN, Adoption, Missing, ResultStore
from hub.stores import StoreOptions, open_store
from hub.task import PARENT_ENDED, Ancestor, Failure, Outcome, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState, child_task_id, new_task_id, wall_clock
from tests.model.process_models import CallingProcess

TIMEOUT: Final = 20.0
SOON: Final = 1.0
"""Seconds after the end of a task within which what it has called ends too."""

CONTRACT: Final = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)

Model = hub.Model[ModelARequest, ModelAResponse]
Process = Callable[[str], Awaitable[str]]

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

ASYNCIO: tuple[str, dict[str, object]] = ("asyncio", {"debug": True})
TRIO: tuple[str, dict[str, object]] = ("trio", {})


@dataclass(frozen=True, slots=True)
class Case:
    backend: tuple[str, dict[str, object]]
    broker: str = "memory"
    store: str = "memory"
    own_loop: bool = True
    marks: tuple[pytest.MarkDecorator, ...] = ()


SERVERS = (pytest.mark.rabbitmq, pytest.mark.redis)
CASES = {
    "embedded-asyncio": Case(ASYNCIO),
    "embedded-trio": Case(TRIO),
    "shared-loop-asyncio": Case(ASYNCIO, own_loop=False),
    "shared-loop-trio": Case(TRIO, own_loop=False),
    "servers-asyncio": Case(ASYNCIO, "amqp", "redis", marks=SERVERS),
    "servers-trio": Case(TRIO, "amqp", "redis", marks=SERVERS),
    "aiormq-redispy-asyncio": Case(ASYNCIO, "amqp+aiormq", "redis+redispy", marks=SERVERS),
}


@pytest.fixture(scope="module", params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


def model(name: str, process: Process, **settings: object) -> type[Model]:
    """A model that turns the text of its request into another one."""

    class Made(hub.Model[ModelARequest, ModelAResponse]):
        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse(reply=await process(request.messages))

    return with_settings(Made, name, settings)


def plain_model(name: str, process: Callable[[str], str], **settings: object) -> type[Model]:
    class Made(hub.Model[ModelARequest, ModelAResponse]):
        @override
        def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse(reply=process(request.messages))

    return with_settings(Made, name, settings)


def with_settings(made: type[Model], name: str, settings: dict[str, object]) -> type[Model]:
    made.name = f"{name}-{uuid4().hex[:8]}"
    for key, value in {"concurrency": 8, **settings}.items():
        setattr(made, key, value)
    return made


@dataclass
class System:
    """A broker, a store, and the models that run on them."""

    broker: Broker
    store: ResultStore
    own_loop: bool = False
    workers: dict[str, Worker] = field(default_factory=dict[str, Worker])

    @asynccontextmanager
    async def serving(self, *models: type[Model], drain_grace: float = 0.0) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for each in models:
                loop = await stack.enter_async_context(OwnLoop(each.name)) if self.own_loop else None
                worker = Worker(
                    each(),
                    contract=CONTRACT,
                    instance=InstanceId(f"instance of {each.name} {uuid4().hex[:4]}"),
                    broker=self.broker,
                    store=self.store,
                    options=WorkerOptions(drain_grace=drain_grace),
                    loop=loop,
                )
                self.workers[each.name] = await stack.enter_async_context(worker)
            yield

    async def send(
        self,
        to: type[Model],
        text: str = "",
        *,
        seconds: float | None = None,
        trace: str = "",
        ancestors: tuple[Ancestor, ...] = (),
    ) -> Task:
        """What a gateway does."""
        now = wall_clock()
        task = Task(
            id=new_task_id(),
            model=ModelName(to.name),
            body=ModelARequest(messages=text).SerializeToString(),
            fingerprint=CONTRACT.fingerprint,
            created_at=now,
            deadline=None if seconds is None else now + seconds,
            traceparent=trace,
            ancestors=ancestors,
        )
        await self.broker.declare(task.model)
        await self.store.create([task])
        publication = Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=task.created_at)
        assert await self.broker.publish([publication]) == [None]
        return task

    async def record(self, task_id: TaskId) -> TaskRecord:
        found = await self.store.changed(task_id, after=0, until_terminal=True)
        assert not isinstance(found, Missing)
        return found

    async def outcome(self, task: Task) -> Outcome:
        found = (await self.record(task.id)).outcome
        assert found is not None
        return found

    async def reply(self, task: Task) -> str:
        outcome = await self.outcome(task)
        assert outcome.body is not None, outcome.failure
        return ModelAResponse.FromString(outcome.body).reply

    async def failure(self, task: Task) -> Failure:
        outcome = await self.outcome(task)
        assert outcome.failure is not None
        return outcome.failure

    async def cancel(self, task: Task) -> None:
        failure = Failure(code="cancelled", message="by its client")
        outcome = Outcome(task_id=task.id, state=TaskState.CANCELLED, failure=failure, finished_at=wall_clock())
        assert await self.store.finish([outcome]) == [True]


@pytest.fixture
async def system(case: Case, request: pytest.FixtureRequest) -> AsyncIterator[System]:
    urls = [
        f"{scheme}://" if scheme == "memory" else f"{scheme}:{request.getfixturevalue(fixture).partition(':')[2]}"
        for scheme, fixture in ((case.broker, "amqp_url"), (case.store, "redis_url"))
    ]
    async with open_broker(urls[0], BrokerOptions()) as broker, open_store(urls[1], StoreOptions()) as store:
        yield System(broker, store, case.own_loop)


async def echo(text: str) -> str:
    return f"<{text}>"


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(TIMEOUT):
        while not condition():
            await anyio.sleep(0.01)


def ask(text: str) -> ModelARequest:
    return ModelARequest(messages=text)


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


async def test_a_second_attempt_finds_what_the_first_one_has_called(system: System) -> None:
    runs = Counter[str]()
    first_attempt_is_at = Counter[int]()

    async def counts(text: str) -> str:
        runs[text] += 1
        if text == "slow":
            await anyio.sleep(0.5)
        return f"{text} {runs[text]}"

    below = model("Below", counts)

    async def process(_: str) -> str:
        task = hub.current_task()
        done = (await task.call(below, ask("done"))).reply
        slow = await task.submit(below, ask("slow"))
        first_attempt_is_at[task.attempt] += 1
        if task.attempt == 1:
            await anyio.sleep_forever()
        return f"{done}, {(await slow.result()).reply}"

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(below):
            async with system.serving(above):  # it is drained at once, and its task goes back
                task = await system.send(above)
                await until(lambda: first_attempt_is_at[1] == 1)
            async with system.serving(above):
                assert await system.reply(task) == "done 1, slow 1"
    assert runs == {"done": 1, "slow": 1}


async def test_a_second_attempt_calls_anew_what_has_failed(system: System) -> None:
    runs = Counter[str]()

    async def fails_once(text: str) -> str:
        runs[text] += 1
        if runs[text] == 1 and text == "bad":
            raise ValueError(text)
        return f"{text} {runs[text]}"

    below = model("Below", fails_once)

    async def process(_: str) -> str:
        task = hub.current_task()
        return f"{(await task.call(below, ask('good'))).reply}, {(await task.call(below, ask('bad'))).reply}"

    above = model("Above", process, retry=hub.Retry(on=(hub.CallFailed,), first=0.05, jitter=0))
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above)) == "good 1, bad 2"


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


async def test_a_call_goes_on_when_an_earlier_attempt_died_before_its_message_was_confirmed(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.stores.memory.records.PENDING_TTL", 0.0)
    monkeypatch.setattr("hub.stores.redis.commands._PENDING_MS", 0)
    monkeypatch.setattr("hub.model.worker.child_tasks.PENDING_PAUSE", 0.1)
    below = model("Below", echo)
    body = ask("half-way").SerializeToString(deterministic=True)

    async def process(text: str) -> str:
        return (await hub.current_task().call(below, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        task = await system.send(above, "half-way")
        name = ModelName(below.name)
        left = Task(
            id=child_task_id(task.id, name, sha256(body).hexdigest(), 1),
            model=name,
            body=body,
            fingerprint=CONTRACT.fingerprint,
            created_at=wall_clock() - 1,
            idempotency_key="1.0",
        )
        await system.store.create([left])
        async with system.serving(below, above):
            assert await system.reply(task) == "<half-way>"
        assert (await system.record(left.id)).state is TaskState.SUCCEEDED


async def test_a_call_waits_for_a_store_that_is_away(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    below = model("Below", echo)
    failures = iter([ConnectionLost("store", "away")] * 3)
    adopt = system.store.adopt

    async def away_at_first(children: Sequence[Task]) -> Sequence[Adoption]:
        if error := next(failures, None):
            raise error
        return await adopt(children)

    monkeypatch.setattr(system.store, "adopt", away_at_first)

    async def process(text: str) -> str:
        return (await hub.current_task().call(below, ask(text))).reply

    above = model("Above", process)
    with anyio.fail_after(TIMEOUT):
        async with system.serving(above, below):
            assert await system.reply(await system.send(above, "x")) == "<x>"
    assert next(failures, None) is None


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
