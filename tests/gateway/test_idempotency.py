"""Idempotency keys: repeated submits make one task, whatever happens in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest
import trio.testing
from httpx2 import Response

from examples.model_a.v1.model_a_pb2 import ModelARequest
from hub.brokers import open_broker
from hub.errors import QueueFull
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Task, TaskRecord
from hub.types import PENDING_TTL, TaskState, idempotent_task_id
from tests.gateway.clocks import Clock
from tests.gateway.fakes import LOST, FaultyBroker, FaultyStore
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

KEY = {"Idempotency-Key": "order-66"}
HI = {"messages": "hi"}
TIMEOUT = 0.2


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual, so that patience costs none."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return ASYNCIO


@dataclass(frozen=True, slots=True)
class FaultyGateway:
    gateway: LocalGateway
    broker: FaultyBroker
    store: FaultyStore
    clock: Clock

    async def submit(self, messages: str = "hi", key: str = "order-66", **headers: str) -> Response:
        headers["Idempotency-Key"] = key
        return await self.gateway.client.post(TASKS, json={"messages": messages}, headers=headers)

    async def messages(self) -> int:
        depth = (await self.broker.depths([MODEL_A]))[MODEL_A]
        assert depth is not None
        return depth.ready

    async def record(self, reply: Response) -> TaskRecord:
        (found,) = await self.store.fetch([reply.json()["id"]])
        assert isinstance(found, TaskRecord)
        return found


@asynccontextmanager
async def faulty_gateway(*, publish_timeout: float = 5.0, api_keys: str = "") -> AsyncGenerator[FaultyGateway]:
    """A gateway, and a model without instances, over a broker and a store that fail on demand."""
    clock = Clock()
    with anyio.fail_after(60):
        async with open_broker("memory://") as broker, open_store("memory://", StoreOptions(clock=clock)) as store:
            faulty_broker, faulty_store = FaultyBroker(broker), FaultyStore(store)
            async with open_gateway(
                broker=faulty_broker,
                store=faulty_store,
                publish_timeout=publish_timeout,
                clock=clock,
                api_keys=api_keys,
            ) as gateway:
                await gateway.model()
                yield FaultyGateway(gateway, faulty_broker, faulty_store, clock)


def task_of(messages: str, created_at: float) -> Task:
    """The task that `FaultyGateway.submit` makes of these messages."""
    return Task(
        id=idempotent_task_id("", MODEL_A, "order-66"),
        model=MODEL_A,
        body=ModelARequest(messages=messages).SerializeToString(),
        fingerprint=CONTRACT_A.fingerprint,
        created_at=created_at,
        idempotency_key="order-66",
    )


async def test_a_repeated_submit_is_answered_with_the_same_task_and_says_so() -> None:
    async with faulty_gateway() as b:
        first, second = await b.submit(), await b.submit()
        assert (first.status_code, second.status_code) == (202, 202)
        assert {**first.json(), "expires_at": ""} == {**second.json(), "expires_at": ""}
        assert first.headers["location"] == second.headers["location"]
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert await b.messages() == 1


async def test_a_repeated_submit_returns_the_present_state_of_the_task() -> None:
    async with faulty_gateway() as b:
        await b.submit()
        await b.gateway.model(answer=echo_a)
        waited = await b.submit(Prefer="wait=5")
        assert (waited.status_code, waited.json()["result"]) == (200, {"reply": "Processed message: hi\n"})
        again = await b.submit()
        assert (again.status_code, again.json()["state"]) == (202, "succeeded")
        assert len(b.gateway.received) == 1


async def test_a_repeated_call_is_answered_with_the_response_of_the_first() -> None:
    async with faulty_gateway() as b:
        await b.gateway.model(answer=echo_a)
        replies = [await b.gateway.client.post("/v1/models/ModelA", json=HI, headers=KEY) for _ in range(2)]
        assert [reply.json() for reply in replies] == [{"reply": "Processed message: hi\n"}] * 2
        assert replies[0].headers["hub-task"] == replies[1].headers["hub-task"]
        assert replies[1].headers["idempotent-replayed"] == "true"
        assert len(b.gateway.received) == 1


async def test_a_call_and_a_submit_under_one_key_are_one_task() -> None:
    async with faulty_gateway() as b:
        await b.gateway.model(answer=echo_a)
        call = await b.gateway.client.post("/v1/models/ModelA", json=HI, headers=KEY)
        assert (await b.submit()).json()["id"] == call.headers["hub-task"]


async def test_the_same_key_with_another_body_is_a_conflict() -> None:
    async with faulty_gateway() as b:
        first = await b.submit("hi")
        second = await b.submit("ho")
        assert problem(second) == (409, "idempotency_conflict")
        assert second.json()["task"] == first.json()["id"]
        assert await b.messages() == 1


async def test_another_key_or_none_is_another_task() -> None:
    async with faulty_gateway() as b:
        ids = {
            (await b.submit()).json()["id"],
            (await b.submit(key="order-67")).json()["id"],
            (await b.gateway.client.post(TASKS, json=HI)).json()["id"],
            (await b.gateway.client.post(TASKS, json=HI)).json()["id"],
        }
        assert len(ids) == 4


async def test_a_key_belongs_to_one_model() -> None:
    async with faulty_gateway() as b:
        await b.gateway.model(DIGITS, CONTRACT_DIGITS)
        body: dict[str, list[float]] = {"pixels": []}
        other = await b.gateway.client.post("/v1/models/Digits/tasks", json=body, headers=KEY)
        assert other.status_code == 202
        assert (await b.submit()).json()["id"] != other.json()["id"]


async def test_a_key_belongs_to_one_client() -> None:
    async with faulty_gateway(api_keys="alice,bob") as b:
        alice = await b.submit(**{"X-API-Key": "alice"})
        bob = await b.submit(**{"X-API-Key": "bob"})
        alice_again = await b.submit(Authorization="Bearer alice")
        assert alice.json()["id"] == alice_again.json()["id"] != bob.json()["id"]


async def test_an_invalid_key_is_refused() -> None:
    async with faulty_gateway() as b:
        assert problem(await b.submit(key="two words")) == (400, "bad_parameter")


async def test_submits_of_one_key_at_the_same_time_are_one_message() -> None:
    async with faulty_gateway() as b:
        replies: list[Response] = []

        async def submit() -> None:
            replies.append(await b.submit())

        async with anyio.create_task_group() as tg:
            for _ in range(10):
                tg.start_soon(submit)
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.json()["id"] for reply in replies}) == 1
        assert sum("idempotent-replayed" not in reply.headers for reply in replies) == 1
        assert await b.messages() == 1


async def test_submits_of_one_key_through_two_gateways_are_one_message() -> None:
    async with (
        faulty_gateway() as b,
        open_gateway(broker=b.broker, store=b.store, clock=b.clock) as other,
        anyio.create_task_group() as tg,
    ):
        await other.model()
        ids: list[str] = []

        async def submit(gateway: LocalGateway) -> None:
            ids.append((await gateway.client.post(TASKS, json=HI, headers=KEY)).json()["id"])

        for gateway in (b.gateway, other) * 3:
            tg.start_soon(submit, gateway)
        await anyio.wait_all_tasks_blocked()
        assert (len(ids), len(set(ids)), await b.messages()) == (6, 1, 1)


async def test_a_repeated_submit_waits_until_the_first_is_confirmed_or_withdrawn() -> None:
    async with faulty_gateway() as b:
        b.broker.stuck = anyio.Event()
        replies: list[Response] = []

        async def submit() -> None:
            replies.append(await b.submit())

        async with anyio.create_task_group() as tg:
            tg.start_soon(submit)
            await b.broker.publishing.wait()
            tg.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            assert replies == []
            b.broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202, 202]
        assert await b.messages() == 1


async def test_when_the_first_submit_is_refused_the_repeated_one_takes_its_place() -> None:
    async with faulty_gateway() as b:
        b.broker.stuck = anyio.Event()
        refusals = [QueueFull(MODEL_A, "at its limit")]
        b.broker.refusal = lambda _: refusals.pop() if refusals else None
        statuses: list[int] = []

        async def submit() -> None:
            statuses.append((await b.submit()).status_code)

        async with anyio.create_task_group() as tg:
            tg.start_soon(submit)
            await b.broker.publishing.wait()
            tg.start_soon(submit)
            await anyio.wait_all_tasks_blocked()
            b.broker.stuck.set()
        assert sorted(statuses) == [202, 429]
        assert await b.messages() == 1


async def test_a_key_whose_submit_was_refused_works_again() -> None:
    async with faulty_gateway() as b:
        b.broker.refusal = lambda _: QueueFull(MODEL_A, "at its limit")
        assert problem(await b.submit()) == (429, "queue_full")
        b.broker.refusal = lambda _: None
        reply = await b.submit()  # at once: the record of the refused one may still have to be withdrawn
        assert (reply.status_code, "idempotent-replayed" in reply.headers) == (202, False)
        assert await b.messages() == 1
        await b.gateway.model(answer=echo_a)
        assert (await b.submit(Prefer="wait=5")).json()["state"] == "succeeded"


async def test_a_key_of_a_refused_submit_may_be_used_with_another_body_once_that_is_withdrawn() -> None:
    async with faulty_gateway() as b:
        b.broker.refusal = lambda _: QueueFull(MODEL_A, "at its limit")
        await b.submit("hi")
        await b.store.withdrawn.wait()
        b.broker.refusal = lambda _: None
        assert (await b.submit("ho")).status_code == 202


async def test_a_submit_that_is_neither_confirmed_nor_withdrawn_in_time_is_a_503() -> None:
    async with faulty_gateway(publish_timeout=TIMEOUT) as b:
        b.store.failing_withdrawals = 1_000_000
        b.broker.stuck = anyio.Event()
        assert problem(await b.submit()) == (503, "accept_timeout")
        reply = await b.submit()
        assert problem(reply) == (503, "submit_in_progress")
        assert int(reply.headers["retry-after"]) >= 1
        b.store.failing_withdrawals = 0
        await b.store.withdrawn.wait()
        b.broker.stuck.set()
        assert (await b.submit()).status_code == 202


async def test_a_submit_whose_gateway_died_before_it_published_may_be_repeated_half_a_minute_later() -> None:
    async with faulty_gateway(publish_timeout=TIMEOUT) as b:
        left_behind = task_of("hi", b.clock())
        assert await b.store.create([left_behind]) == [None]  # and no message

        assert problem(await b.submit()) == (503, "submit_in_progress")
        b.clock.advance(PENDING_TTL)
        reply = await b.submit()

        assert (reply.status_code, reply.json()["id"]) == (202, left_behind.id)
        assert await b.messages() == 1
        assert not (await b.record(reply)).pending


async def test_a_key_can_be_used_again_when_its_record_has_expired() -> None:
    async with faulty_gateway() as b:
        await b.gateway.model(answer=echo_a)
        await b.submit(Prefer="wait=5")
        b.clock.advance(24 * 3600 + 10)
        again = await b.submit(Prefer="wait=5")
        assert (again.status_code, again.json()["state"]) == (200, "succeeded")
        assert len(b.gateway.received) == 2


async def test_a_confirmed_task_is_accepted_even_if_its_record_cannot_be_updated() -> None:
    async with faulty_gateway() as b:
        b.store.failing_accepts = 2
        first = await b.submit()
        assert first.status_code == 202
        second = await b.submit()  # which waits until it is told
        assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
        assert not (await b.record(first)).pending
        assert await b.messages() == 1


async def test_a_client_that_disconnects_at_any_moment_can_repeat_its_submit() -> None:
    for steps in range(16):
        async with faulty_gateway() as b:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tg:
                    tg.start_soon(b.submit)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
            reply = await b.submit()
            assert reply.status_code == 202
            record = await b.record(reply)
            assert (record.state, record.pending) == (TaskState.QUEUED, False)
            await b.gateway.model(answer=echo_a)
            assert (await b.submit(Prefer="wait=5")).json()["state"] == "succeeded"
            assert len({task.id for task in b.gateway.received}) == 1


async def test_submits_without_a_key_cost_no_more_than_before() -> None:
    async with faulty_gateway() as b:
        flushes = b.store.statistics().flushes
        await b.gateway.client.post(TASKS, json=HI)
        assert b.store.statistics().flushes == flushes + 1
        assert b.store.accepted == []
        await b.submit()
        assert len(b.store.accepted) == 1


async def test_a_first_submit_that_lost_the_store_after_writing_is_withdrawn_and_can_be_repeated() -> None:
    async with faulty_gateway() as b:
        b.store.create_error = LOST
        assert problem(await b.submit()) == (503, "connection_lost")
        b.store.create_error = None
        assert (await b.submit()).status_code == 202
        assert await b.messages() == 1


async def test_a_late_message_with_another_body_is_not_started() -> None:
    async with faulty_gateway() as b:
        b.broker.error = LOST  # and yet the broker had it
        await b.submit("hi")
        await b.store.withdrawn.wait()
        b.broker.error = None
        second = await b.submit("ho")
        record = await b.record(second)
        (start,) = await b.store.start([task_of("hi", record.created_at - 1)], INSTANCE, attempts=5)
        assert start.state is None
