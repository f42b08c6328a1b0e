"""Queue limits: a submit for a full queue is refused with the time after which to try again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
import trio.testing
from anyio.lowlevel import checkpoint

from hub.brokers import open_broker
from hub.brokers.options import BrokerOptions
from hub.gateway.tasks.backpressure import (
    BROKER_TIMEOUT,
    FULL_POLL_INTERVAL,
    MAX_AGE_TO_REFUSE,
    POLL_INTERVAL,
    MeanRunTimes,
)
from hub.ports.broker import QueueDepth
from hub.ports.directory import ModelLimits
from hub.task import Failure, Outcome, TaskRecord
from hub.types import ModelName, TaskState, new_task_id
from tests.gateway.fakes import LOST, FaultyBroker
from tests.gateway.fixtures import (
    CONTRACT_A,
    CONTRACT_DIGITS,
    DIGITS,
    INSTANCE,
    MODEL_A,
    LocalGateway,
    echo_a,
    open_gateway,
)
from tests.gateway.test_submit import TASKS, problem
from tests.support.backends import ASYNCIO

LIMIT = 5


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return ASYNCIO


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
) -> AsyncGenerator[tuple[LocalGateway, FaultyBroker, Looks]]:
    with anyio.fail_after(60):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            looks = Looks(broker)
            monkeypatch.setattr(broker, "depths", looks)
            async with open_gateway(broker=broker, queue_limit=limit) as gateway:
                await gateway.model(limits=limits, live=live)
                yield gateway, broker, looks


async def refusal(gateway: LocalGateway) -> int:
    """The Retry-After of a submit that must be refused."""
    reply = await gateway.client.post(TASKS, json={})
    assert problem(reply) == (429, "queue_full")
    return int(reply.headers["retry-after"])


async def test_a_queue_at_its_limit_takes_no_more_and_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, broker, _):
        for _ in range(LIMIT):
            assert (await gateway.client.post(TASKS, json={})).status_code == 202
        published = broker.published
        reply = await gateway.client.post(TASKS, json={})
        assert problem(reply) == (429, "queue_full")
        assert reply.json()["waiting"] == LIMIT
        assert "location" not in reply.headers
        call = await gateway.client.post("/v1/models/ModelA", json={})
        assert problem(call) == (429, "queue_full")
        assert broker.published == published


async def test_a_burst_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, broker, _):
        statuses: list[int] = []

        async def submit() -> None:
            statuses.append((await gateway.client.post(TASKS, json={})).status_code)

        async with anyio.create_task_group() as tg:
            for _ in range(4 * LIMIT):
                tg.start_soon(submit)
        assert (statuses.count(202), statuses.count(429)) == (LIMIT, 3 * LIMIT)
        assert broker.published == LIMIT


async def test_one_full_queue_refuses_nothing_for_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, _, _):
        await gateway.model(DIGITS, CONTRACT_DIGITS)
        for _ in range(LIMIT):
            await gateway.client.post(TASKS, json={})
        assert (await gateway.client.post(TASKS, json={})).status_code == 429
        assert (await gateway.client.post("/v1/models/Digits/tasks", json={})).status_code == 202


async def test_messages_that_instances_receive_make_room_before_the_next_poll_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.gateway.tasks.backpressure.POLL_INTERVAL", 3600.0)
    async with limited(monkeypatch) as (gateway, _, _):
        await gateway.model(answer=echo_a)
        await gateway.parts.queues.poll()
        for _ in range(LIMIT):
            assert (await gateway.client.post("/v1/models/ModelA", json={})).status_code == 200
        while (await gateway.client.post("/v1/models/ModelA", json={})).status_code != 200:
            await anyio.sleep(MAX_AGE_TO_REFUSE)


async def test_refused_submits_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, broker, _):
        broker.error = LOST
        for _ in range(2 * LIMIT):
            assert (await gateway.client.post(TASKS, json={})).status_code == 503
        broker.error = None
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_without_a_limit_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch, limit=0) as (gateway, _, looks):
        looks.says = QueueDepth(ready=1_000_000, consumers=1)
        await gateway.parts.queues.poll()
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_a_broker_out_of_reach_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, broker, _):
        for _ in range(LIMIT):
            await gateway.client.post(TASKS, json={})
        broker.error = LOST
        await gateway.parts.queues.poll()
        assert problem(await gateway.client.post(TASKS, json={})) == (503, "connection_lost")


async def test_retry_after_is_the_time_that_the_queue_takes_to_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch, limits=ModelLimits(concurrency=4)) as (gateway, _, looks):
        looks.says = QueueDepth(ready=600, consumers=3)
        await gateway.parts.queues.poll()
        assert await refusal(gateway) == 50  # 600 tasks of 1 s, 3 consumers with 4 at a time
        gateway.parts.tasks.run_times.observe(ran(took=2.0))
        assert await refusal(gateway) == 100


async def test_retry_after_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch, live=2) as (gateway, _, looks):
        for depth, seconds in (
            (QueueDepth(ready=LIMIT, consumers=1000), 1),
            (QueueDepth(ready=1_000_000, consumers=1), 600),
            (QueueDepth(ready=100, consumers=0), 100),
        ):
            looks.says = depth
            await gateway.parts.queues.poll()
            assert await refusal(gateway) == seconds


async def test_a_queue_that_is_known_to_be_full_is_refused_before_the_body_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reply is that of the route, without a poll of its own; a recent poll is one of the last 0.1 s."""
    async with limited(monkeypatch) as (gateway, _, looks):
        looks.says = QueueDepth(ready=LIMIT, consumers=1)
        await gateway.parts.queues.poll()
        assert gateway.parts.queues.known_full(MODEL_A) is not None

        async def body() -> AsyncGenerator[bytes]:
            read.set()
            yield b"{}"

        for path in ("/v1/models/ModelA", TASKS):
            read = anyio.Event()
            reply = await gateway.client.post(path, content=body(), headers={"Content-Type": "application/json"})
            assert problem(reply) == (429, "queue_full")
            assert reply.json()["waiting"] == LIMIT
            assert reply.headers["cache-control"] == "no-store"
            assert not read.is_set()
        for path in ("/v1/models/ModelA/batches", "/v1/models/ModelA/other"):
            assert (await gateway.client.post(path, content=b"")).status_code != 429
        looks.says = QueueDepth(ready=0, consumers=1)
        while gateway.parts.queues.known_full(MODEL_A) is not None:
            before = looks.count
            await anyio.sleep(1.5 * FULL_POLL_INTERVAL)  # in which it polls because of the refusal
            assert looks.count == before + 1
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_a_depth_that_is_too_old_refuses_nothing_early(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, _, looks):
        looks.says = QueueDepth(ready=LIMIT, consumers=1)
        await gateway.parts.queues.poll()
        looks.says = QueueDepth(ready=0, consumers=1)
        await anyio.sleep(1.5 * MAX_AGE_TO_REFUSE)  # far less than the time to the next poll
        assert gateway.parts.queues.known_full(MODEL_A) is None
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_clients_without_a_credential_do_not_see_which_queues_are_full() -> None:
    with anyio.fail_after(30):
        async with open_gateway(api_keys="key-1", queue_limit=1) as gateway:
            await gateway.model()
            key = {"Authorization": "Bearer key-1"}
            assert (await gateway.client.post(TASKS, json={}, headers=key)).status_code == 202
            await gateway.parts.queues.poll()
            assert gateway.parts.queues.known_full(MODEL_A) is not None
            assert problem(await gateway.client.post(TASKS, json={})) == (401, "unauthorized")
            reply = await gateway.client.post(TASKS, json={}, headers={"X-API-Key": "key-1"})
            assert problem(reply) == (429, "queue_full")


async def test_a_rejection_by_the_broker_is_refused_in_the_same_way() -> None:
    with anyio.fail_after(30):
        async with (
            open_broker("memory://", BrokerOptions(max_length=20)) as broker,
            open_gateway(broker=broker) as gateway,
        ):
            await gateway.model()
            for _ in range(20):
                assert (await gateway.client.post(TASKS, json={})).status_code == 202
            reply = await gateway.client.post(TASKS, json={})
            assert problem(reply) == (429, "queue_full")
            assert (reply.json()["waiting"], reply.headers["retry-after"]) == (20, "20")


async def test_refusals_are_counted_by_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, _, looks):
        looks.says = QueueDepth(ready=LIMIT, consumers=1)
        await gateway.parts.queues.poll()
        await refusal(gateway)
        await gateway.model(DIGITS, CONTRACT_DIGITS, live=0)
        await gateway.client.post("/v1/models/Digits/tasks", json={})
        await gateway.client.post("/v1/models/Unknown/tasks", json={})
        metrics = (await gateway.client.get("/metrics")).text
        assert 'hub_submits_total{model="ModelA",result="queue_full"} 1.0' in metrics
        assert 'hub_submits_total{model="Digits",result="model_unavailable"} 1.0' in metrics
        assert "Unknown" not in metrics


async def test_depths_are_polled_about_once_a_second_however_many_dashboards_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch) as (gateway, _, looks):
        await gateway.parts.queues.poll()
        before = looks.count
        for _ in range(20):
            await gateway.client.get("/v1/overview")
        assert looks.count - before <= 1


async def test_dead_letters_are_on_the_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, _, looks):
        looks.says = QueueDepth(ready=3, consumers=2, dead=1)
        await gateway.parts.queues.poll()
        overview = (await gateway.client.get("/v1/overview")).json()
        queue = overview["models"][0]["queue"]
        assert (queue["ready"], queue["consumers"], queue["dead"]) == (3, 2, 1)


async def test_depths_are_polled_periodically_and_when_there_is_a_new_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with limited(monkeypatch) as (gateway, _, looks):
        looks.says = QueueDepth(ready=7, consumers=1)
        with anyio.fail_after(3 * POLL_INTERVAL):
            while (gateway.parts.queues.depths or {}).get(MODEL_A) != looks.says:
                await anyio.wait_all_tasks_blocked()
                await anyio.sleep(POLL_INTERVAL / 10)
        await anyio.sleep(POLL_INTERVAL / 5)  # longer than a look is too fresh to be repeated
        await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
        await anyio.wait_all_tasks_blocked()
        assert gateway.parts.queues.depths is not None
        assert DIGITS in gateway.parts.queues.depths


async def test_a_poll_of_a_broker_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, broker, _):

        async def silent(_: object) -> Mapping[ModelName, QueueDepth | None]:
            await anyio.sleep_forever()
            raise AssertionError

        monkeypatch.setattr(broker, "depths", silent)
        with anyio.fail_after(BROKER_TIMEOUT * 2):
            await gateway.parts.queues.poll()
        assert gateway.parts.queues.depths is None


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


def test_the_mean_run_time_follows_the_observed_runs() -> None:
    times = MeanRunTimes()
    assert times.mean(MODEL_A) == 1.0
    times.observe(ran(took=10.0, ended=100.0))
    assert times.mean(MODEL_A) == 10.0
    times.observe(ran(took=20.0, ended=101.0))
    assert times.mean(MODEL_A) == pytest.approx(11.0)
    for number in range(100):
        times.observe(ran(took=2.0, ended=102.0 + number, state=TaskState.FAILED))
    assert times.mean(MODEL_A) == pytest.approx(2.0, rel=0.01)


def test_a_record_that_is_observed_again_counts_once() -> None:
    times = MeanRunTimes()
    times.observe(ran(took=10.0))
    slow = ran(took=20.0, ended=101.0)
    for _ in range(100):
        times.observe(slow)
    assert times.mean(MODEL_A) == pytest.approx(11.0)


async def test_all_callers_that_wait_for_a_poll_continue_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after the other, which takes as many rounds of the event loop as there are submits."""
    async with limited(monkeypatch) as (gateway, _broker, looks):
        await anyio.sleep(2 * MAX_AGE_TO_REFUSE)
        looks.hold = anyio.Event()
        ended: list[int] = []
        rounds = 0

        async def look() -> None:
            await gateway.parts.queues.poll(MAX_AGE_TO_REFUSE)
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


async def test_a_cancelled_poll_is_repeated_by_another_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(monkeypatch) as (gateway, _broker, looks):
        await anyio.sleep(2 * MAX_AGE_TO_REFUSE)
        looks.hold = anyio.Event()
        count = looks.count
        scope = anyio.CancelScope()

        async def look() -> None:
            with scope:
                await gateway.parts.queues.poll(MAX_AGE_TO_REFUSE)

        async with anyio.create_task_group() as tg:
            tg.start_soon(look)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                tg.start_soon(gateway.parts.queues.poll, MAX_AGE_TO_REFUSE)
            await anyio.wait_all_tasks_blocked()
            scope.cancel("the client has gone")
            await anyio.wait_all_tasks_blocked()
            looks.hold.set()
        assert looks.count == count + 2
