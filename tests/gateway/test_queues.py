"""No more is accepted than a queue has room for, and who is refused hears when to come again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
import trio.testing
from anyio.lowlevel import checkpoint

from hub.brokers import open_broker
from hub.brokers.options import BrokerOptions
from hub.gateway.tasks.backpressure import AGAIN, BROKER_TIMEOUT, PERIOD
from hub.gateway.tasks.run_times import MeanRunTimes
from hub.ports.broker import QueueDepth
from hub.ports.directory import ModelLimits
from hub.task import Failure, Outcome, TaskRecord
from hub.types import ModelName, TaskState, new_task_id
from tests.gateway.faults import LOST, FaultyBroker
from tests.gateway.stage import CONTRACT_A, CONTRACT_DIGITS, DIGITS, INSTANCE, MODEL_A, Stage, echo_a, open_stage
from tests.gateway.test_submit import TASKS, problem

LIMIT = 5


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"debug": True}


class Looks:
    """Stands in for `FaultyBroker.depths`: counts the looks, and says what the test wants."""

    def __init__(self, broker: FaultyBroker) -> None:
        self.count = 0
        self.says: QueueDepth | None = None
        self.hold: anyio.Event | None = None
        self._broker = broker

    async def __call__(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        self.count += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.says is not None:
            return dict.fromkeys(queues, self.says)
        return await FaultyBroker.depths(self._broker, queues)


@asynccontextmanager
async def limited(
    monkeypatch: pytest.MonkeyPatch, *, limit: int = LIMIT, limits: ModelLimits = ModelLimits(), live: int = 1
) -> AsyncGenerator[tuple[Stage, FaultyBroker, Looks]]:
    with anyio.fail_after(60):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            looks = Looks(broker)
            monkeypatch.setattr(broker, "depths", looks)
            async with open_stage(broker=broker, queue_limit=limit) as stage:
                await stage.model(limits=limits, live=live)
                yield stage, broker, looks


async def refusal(stage: Stage) -> int:
    """The Retry-After of a submit that must be refused."""
    reply = await stage.client.post(TASKS, json={})
    assert problem(reply) == (429, "queue_full")
    return int(reply.headers["retry-after"])


async def test_a_queue_at_its_limit_takes_no_more_and_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, broker, _):
        for _ in range(LIMIT):
            assert (await stage.client.post(TASKS, json={})).status_code == 202
        published = broker.published
        reply = await stage.client.post(TASKS, json={})
        assert problem(reply) == (429, "queue_full")
        assert reply.json()["waiting"] == LIMIT
        assert "location" not in reply.headers
        call = await stage.client.post("/v1/models/ModelA", json={})
        assert problem(call) == (429, "queue_full")
        assert broker.published == published


async def test_a_burst_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, broker, _):
        statuses: list[int] = []

        async def submit() -> None:
            statuses.append((await stage.client.post(TASKS, json={})).status_code)

        async with anyio.create_task_group() as tg:
            for _ in range(4 * LIMIT):
                tg.start_soon(submit)
        assert (statuses.count(202), statuses.count(429)) == (LIMIT, 3 * LIMIT)
        assert broker.published == LIMIT


async def test_one_full_queue_refuses_nothing_for_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, _, _):
        await stage.model(DIGITS, CONTRACT_DIGITS)
        for _ in range(LIMIT):
            await stage.client.post(TASKS, json={})
        assert (await stage.client.post(TASKS, json={})).status_code == 429
        assert (await stage.client.post("/v1/models/Digits/tasks", json={})).status_code == 202


async def test_what_instances_take_makes_room_before_the_next_look_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.gateway.tasks.backpressure.PERIOD", 3600.0)
    async with limited(monkeypatch) as (stage, _, _):
        await stage.model(answer=echo_a)
        await stage.queues.look()
        for _ in range(LIMIT):
            assert (await stage.client.post("/v1/models/ModelA", json={})).status_code == 200
        while (await stage.client.post("/v1/models/ModelA", json={})).status_code != 200:
            await anyio.sleep(AGAIN)


async def test_refused_submits_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, broker, _):
        broker.error = LOST
        for _ in range(2 * LIMIT):
            assert (await stage.client.post(TASKS, json={})).status_code == 503
        broker.error = None
        assert (await stage.client.post(TASKS, json={})).status_code == 202


async def test_without_a_limit_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch, limit=0) as (stage, _, looks):
        looks.says = QueueDepth(ready=1_000_000, consumers=1)
        await stage.queues.look()
        assert (await stage.client.post(TASKS, json={})).status_code == 202


async def test_a_broker_that_cannot_be_asked_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, broker, _):
        for _ in range(LIMIT):
            await stage.client.post(TASKS, json={})
        broker.error = LOST
        await stage.queues.look()
        assert problem(await stage.client.post(TASKS, json={})) == (503, "connection_lost")


async def test_the_wait_that_is_advised_is_what_the_queue_takes_to_be_worked_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch, limits=ModelLimits(concurrency=4)) as (stage, _, looks):
        looks.says = QueueDepth(ready=600, consumers=3)
        await stage.queues.look()
        assert await refusal(stage) == 50  # 600 tasks of 1 s, 3 consumers with 4 at a time
        stage.dispatch.run_times.seen(ran(took=2.0))
        assert await refusal(stage) == 100


async def test_the_wait_that_is_advised_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch, live=2) as (stage, _, looks):
        for depth, seconds in (
            (QueueDepth(ready=LIMIT, consumers=1000), 1),
            (QueueDepth(ready=1_000_000, consumers=1), 600),
            (QueueDepth(ready=100, consumers=0), 100),
        ):
            looks.says = depth
            await stage.queues.look()
            assert await refusal(stage) == seconds


async def test_a_queue_that_the_broker_finds_full_is_refused_in_the_same_way() -> None:
    with anyio.fail_after(30):
        async with open_broker("memory://", BrokerOptions(max_length=20)) as broker, open_stage(broker=broker) as stage:
            await stage.model()
            for _ in range(20):
                assert (await stage.client.post(TASKS, json={})).status_code == 202
            reply = await stage.client.post(TASKS, json={})
            assert problem(reply) == (429, "queue_full")
            assert (reply.json()["waiting"], reply.headers["retry-after"]) == (20, "20")


async def test_refusals_are_counted_by_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, _, looks):
        looks.says = QueueDepth(ready=LIMIT, consumers=1)
        await stage.queues.look()
        await refusal(stage)
        await stage.model(DIGITS, CONTRACT_DIGITS, live=0)
        await stage.client.post("/v1/models/Digits/tasks", json={})
        await stage.client.post("/v1/models/Nobody/tasks", json={})
        metrics = (await stage.client.get("/metrics")).text
        assert 'hub_submits_total{model="ModelA",result="queue_full"} 1.0' in metrics
        assert 'hub_submits_total{model="Digits",result="model_unavailable"} 1.0' in metrics
        assert "Nobody" not in metrics


async def test_the_gateway_looks_about_once_a_second_however_many_dashboards_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch) as (stage, _, looks):
        await stage.queues.look()
        before = looks.count
        for _ in range(20):
            await stage.client.get("/v1/overview")
        assert looks.count - before <= 1


async def test_dead_letters_are_on_the_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, _, looks):
        looks.says = QueueDepth(ready=3, consumers=2, dead=1)
        await stage.queues.look()
        overview = (await stage.client.get("/v1/overview")).json()
        queue = overview["models"][0]["queue"]
        assert (queue["ready"], queue["consumers"], queue["dead"]) == (3, 2, 1)


async def test_the_queues_are_looked_at_again_and_again_and_a_new_model_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch) as (stage, _, looks):
        looks.says = QueueDepth(ready=7, consumers=1)
        with anyio.fail_after(3 * PERIOD):
            while (stage.queues.depths or {}).get(MODEL_A) != looks.says:
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(PERIOD / 10)
        await anyio.sleep(PERIOD / 5)  # longer than a look is too fresh to be repeated
        await stage.tell(DIGITS, CONTRACT_DIGITS, live=1)
        await anyio.wait_all_tasks_blocked()
        assert stage.queues.depths is not None
        assert DIGITS in stage.queues.depths


async def test_a_broker_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, broker, _):

        async def silent(_: object) -> Mapping[ModelName, QueueDepth | None]:
            await anyio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(broker, "depths", silent)
        with anyio.fail_after(BROKER_TIMEOUT * 2):
            await stage.queues.look()
        assert stage.queues.depths is None


def ran(*, took: float, ended: float = 100.0, state: TaskState = TaskState.SUCCEEDED) -> TaskRecord:
    task_id = new_task_id()
    failure = None if state is TaskState.SUCCEEDED else Failure(code="model_error", message="no such word")
    outcome = Outcome(
        task_id=task_id,
        state=state,
        body=None if failure else b"",
        failure=failure,
        started_at=ended - took,
        finished_at=ended,
    )
    return TaskRecord(
        id=task_id,
        model=MODEL_A,
        state=state,
        revision=3,
        attempt=1,
        instance=INSTANCE,
        fingerprint=CONTRACT_A.fingerprint,
        created_at=0.0,
        updated_at=ended,
        deadline=None,
        expires_at=ended + 1,
        outcome=outcome,
    )


def test_the_mean_run_time_moves_with_what_is_seen() -> None:
    times = MeanRunTimes()
    assert times.mean(MODEL_A) == 1.0
    times.seen(ran(took=10.0, ended=100.0))
    assert times.mean(MODEL_A) == 10.0
    times.seen(ran(took=20.0, ended=101.0))
    assert times.mean(MODEL_A) == pytest.approx(11.0)
    for number in range(100):
        times.seen(ran(took=2.0, ended=102.0 + number, state=TaskState.FAILED))
    assert times.mean(MODEL_A) == pytest.approx(2.0, rel=0.01)


def test_a_task_that_is_looked_at_again_counts_once() -> None:
    times = MeanRunTimes()
    times.seen(ran(took=10.0))
    slow = ran(took=20.0, ended=101.0)
    for _ in range(100):
        times.seen(slow)
    assert times.mean(MODEL_A) == pytest.approx(11.0)


async def test_all_who_wait_for_a_look_go_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after the other, which takes as many rounds of the event loop as there are submits."""
    async with limited(monkeypatch) as (stage, _broker, looks):
        await anyio.sleep(2 * AGAIN)
        looks.hold = anyio.Event()
        ended: list[int] = []
        rounds = 0

        async def look() -> None:
            await stage.queues.look(AGAIN)
            ended.append(rounds)

        async with anyio.create_task_group() as tg:
            for _ in range(50):
                tg.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            looks.hold.set()
            while len(ended) < 50:
                rounds += 1
                await checkpoint()
        assert ended[-1] - ended[0] < 5


async def test_a_look_that_is_cancelled_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (stage, _broker, looks):
        await anyio.sleep(2 * AGAIN)
        looks.hold = anyio.Event()
        count = looks.count
        scope = anyio.CancelScope()

        async def look() -> None:
            with scope:
                await stage.queues.look(AGAIN)

        async with anyio.create_task_group() as tg:
            tg.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                tg.start_soon(stage.queues.look, AGAIN)
            await anyio.wait_all_tasks_blocked()
            scope.cancel("the client has gone")
            await anyio.wait_all_tasks_blocked()
            looks.hold.set()
        assert looks.count == count + 2
