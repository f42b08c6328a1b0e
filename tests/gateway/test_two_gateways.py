"""Two gateways with a common store and broker behave like one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import anyio
from anyio import create_task_group
from httpx2 import Response

from hub.brokers import open_broker
from hub.stores import open_store
from tests.gateway.fakes import FaultyBroker
from tests.gateway.fixtures import MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import TASKS, problem

HI = {"messages": "hi"}


@dataclass(frozen=True, slots=True)
class Pair:
    one: LocalGateway
    other: LocalGateway
    broker: FaultyBroker

    def key(self) -> dict[str, str]:
        """Unlike any that was used before: Redis outlives a test."""
        return {"Idempotency-Key": str(uuid4())}


@asynccontextmanager
async def pair(redis_url: str) -> AsyncGenerator[Pair]:
    with anyio.fail_after(30):
        async with (
            open_broker("memory://") as memory,
            open_store(redis_url) as store,
            open_store(redis_url) as other_store,
        ):
            broker = FaultyBroker(memory)
            async with (
                open_gateway(broker=broker, store=store) as one,
                open_gateway(broker=broker, store=other_store) as other,
            ):
                await one.model()
                await other.model()
                yield Pair(one, other, broker)


async def test_one_key_at_both_gateways_at_once_is_one_task(redis_url: str) -> None:
    async with pair(redis_url) as p:
        key = p.key()
        replies: list[Response] = []

        async def submit(gateway: LocalGateway) -> None:
            replies.append(await gateway.client.post(TASKS, json=HI, headers=key))

        async with create_task_group() as tg:
            for gateway in (p.one, p.other) * 10:
                tg.start_soon(submit, gateway)
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.json()["id"] for reply in replies}) == 1
        assert Counter("idempotent-replayed" in reply.headers for reply in replies) == {True: 19, False: 1}
        assert p.broker.published == 1


async def test_a_call_repeated_at_the_other_gateway_gets_the_response(redis_url: str) -> None:
    async with pair(redis_url) as p:
        key = p.key()
        first = await p.one.client.post(TASKS, json=HI, headers=key)
        replies: list[Response] = []

        async def call() -> None:
            replies.append(await p.other.client.post("/v1/models/ModelA", json=HI, headers=key))

        async with create_task_group() as tg:
            tg.start_soon(call)
            while not p.other.parts.polls.waiting:
                await anyio.lowlevel.checkpoint()
            await p.one.model(answer=echo_a)
        (reply,) = replies
        assert reply.json() == {"reply": "Processed message: hi\n"}
        assert reply.headers["hub-task"] == first.json()["id"]
        conflict = await p.other.client.post(TASKS, json={"messages": "ho"}, headers=key)
        assert problem(conflict) == (409, "idempotency_conflict")


async def test_a_cancellation_at_one_gateway_ends_a_wait_at_the_other(redis_url: str) -> None:
    async with pair(redis_url) as p:
        replies: list[Response] = []

        async def call() -> None:
            headers = {"Prefer": "wait=20"}
            replies.append(await p.one.client.post("/v1/models/ModelA", json=HI, headers=headers))

        async with create_task_group() as tg:
            tg.start_soon(call)
            async with p.broker.consume(MODEL_A, prefetch=1) as consumer:
                (delivery,) = await consumer.receive()
                task = f"/v1/tasks/{delivery.message_id}"
            assert (await p.other.client.delete(task)).json()["state"] == "cancelled"
        assert [problem(reply) for reply in replies] == [(409, "task_cancelled")]
        assert (await p.one.client.delete(task)).status_code == 200


async def test_a_task_is_expired_at_both_gateways(redis_url: str) -> None:
    async with pair(redis_url) as p:
        reply = await p.one.client.post(TASKS, json=HI, headers={"Hub-Timeout": "0.001", "Prefer": "wait=10"})
        assert reply.json()["state"] == "expired"
        shown = await p.other.client.get(reply.headers["location"])
        assert shown.json() == reply.json()
