"""Calls between `hub up --reload` and the process of its models."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from socket import SHUT_RDWR, socketpair

import pytest
from anyio import Event, create_task_group, fail_after, sleep_forever, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from hub.brokers import open_broker
from hub.cli.reload.calls import CallClient
from hub.cli.reload.frames import CancelCall, MethodCall, encode
from hub.cli.reload.remote import remote_broker, remote_store
from hub.cli.reload.server import CallServer
from hub.concurrency.services import background_service
from hub.errors import ConfigurationError, ConnectionLost
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import Missing, ResultStore
from hub.stores import open_store
from hub.types import ModelName, TaskId, new_task_id
from tests.cli.remote import calls_to

QUEUE = ModelName("Echo")


def publication(text: str) -> Publication:
    return Publication(queue=QUEUE, body=text.encode(), message_id=text, timestamp=1.7e9)


class Target:
    """What a test calls."""

    def __init__(self) -> None:
        self.waiting = Event()
        self.cancelled = Event()
        self.taken = 0

    async def take(self) -> int:
        await checkpoint()
        self.taken += 1
        return self.taken

    @asynccontextmanager
    async def ends_by_itself(self) -> AsyncGenerator[Target]:
        async def end() -> None:
            await self.waiting.wait()
            raise ConnectionLost("target", "it has ended")

        async with create_task_group() as tg:
            tg.start_soon(end)
            yield self

    async def wait(self) -> None:
        try:
            self.waiting.set()
            await Event().wait()
        finally:
            self.cancelled.set()

    async def refuse(self, text: str) -> None:
        await checkpoint()
        raise ConfigurationError(text)

    async def refuse_strangely(self) -> None:
        await checkpoint()

        class LocalError(Exception):
            pass

        raise LocalError("of this function")


@pytest.mark.parametrize(
    ("port", "sync"), [(ResultStore, {"channel", "statistics"}), (Broker, {"consume", "dead_letters", "statistics"})]
)
def test_every_method_of_a_port_that_has_no_code_of_its_own_here_is_async(port: type, sync: set[str]) -> None:
    members = {name: member for name, member in vars(port).items() if not name.startswith("_")}

    assert {name for name, member in members.items() if not inspect.iscoroutinefunction(member)} == sync


async def test_a_cancelled_call_is_cancelled_at_the_other_end() -> None:
    target = Target()
    async with calls_to(target=target) as calls:
        with fail_after(10):
            async with create_task_group() as tg:
                tg.start_soon(calls.call, "target", "wait")
                await target.waiting.wait()
                tg.cancel_scope.cancel()
            await target.cancelled.wait()


async def test_a_call_whose_cancellation_arrives_with_it_is_cancelled() -> None:
    target = Target()
    parent, child = socketpair()
    with closing(child), fail_after(10):
        child.sendall(encode(MethodCall(1, "target", "wait")) + encode(CancelCall(1)))
        async with background_service(CallServer(parent, {"target": target}).serve, name="calls"):
            await target.cancelled.wait()


async def test_a_value_that_crosses_the_cancellation_of_its_call_is_not_lost() -> None:
    for passes in range(12):
        returned: list[int] = []
        target = Target()

        async def take(calls: CallClient, returned: list[int] = returned) -> None:
            returned.append(await calls.call("target", "take"))

        async with calls_to(target=target) as calls:
            with fail_after(10):
                async with create_task_group() as tg:
                    tg.start_soon(take, calls)
                    for _ in range(passes):
                        await checkpoint()
                    tg.cancel_scope.cancel()
                assert len(returned) == target.taken


async def test_an_error_that_ends_an_entered_block_by_itself_is_raised_when_it_is_left() -> None:
    target = Target()
    async with calls_to(target=target) as calls:
        with fail_after(10), pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - it is raised at the end of the block
            async with calls.enter("target", "ends_by_itself"):
                target.waiting.set()
                await wait_all_tasks_blocked()
    assert caught.group_contains(ConnectionLost)


async def test_errors_are_raised_at_the_caller_and_those_that_cannot_be_pickled_by_their_text() -> None:
    async with calls_to(target=Target()) as calls:
        with pytest.raises(ConfigurationError, match="the reason"):
            await calls.call("target", "refuse", "the reason")
        with pytest.raises(RuntimeError, match="LocalError: of this function"):
            await calls.call("target", "refuse_strangely")
        with pytest.raises(ConnectionLost):
            await calls.call("gone", "refuse")


async def test_a_store_answers_with_its_own_values() -> None:
    async with open_store("memory://") as opened, calls_to(store=opened) as calls:
        store = remote_store(calls, opened.channel)
        unknown: TaskId = new_task_id()

        assert await store.fetch([unknown]) == [Missing.UNKNOWN]
        assert store.channel == opened.channel


async def test_deliveries_are_settled_in_order_and_the_rest_is_requeued_when_the_block_ends() -> None:
    with fail_after(10):
        async with open_broker("memory://") as opened, calls_to(broker=opened) as calls:
            broker = remote_broker(calls)
            await broker.declare(QUEUE)
            assert await broker.publish([publication("1"), publication("2"), publication("3")]) == [None] * 3
            async with broker.consume(QUEUE, prefetch=3) as consumer:
                received: list[str] = []
                while len(received) < 3:
                    deliveries = await consumer.receive()
                    received += [delivery.message_id for delivery in deliveries]
                    consumer.ack(each for each in deliveries if each.message_id == "1")
                assert (consumer.unsettled, broker.statistics().unacked) == (2, 2)
            depth = (await opened.depths([QUEUE]))[QUEUE]

    assert received == ["1", "2", "3"]
    assert depth is not None
    assert (depth.ready, depth.consumers) == (2, 0)


async def test_what_a_process_holds_is_requeued_when_it_dies() -> None:
    with fail_after(10):
        async with open_broker("memory://") as opened:
            await opened.declare(QUEUE)
            await opened.publish([publication("1")])
            with pytest.raises(ExceptionGroup):  # noqa: PT012 - the process dies in the block
                async with (
                    calls_to(broker=opened) as calls,
                    calls.enter("broker", "consume", QUEUE, prefetch=1) as name,
                ):
                    assert len(await calls.call(name, "receive")) == 1
                    calls._frames._socket.shutdown(SHUT_RDWR)
                    await sleep_forever()
            depth = (await opened.depths([QUEUE]))[QUEUE]

    assert depth is not None
    assert (depth.ready, depth.consumers) == (1, 0)


def test_values_of_a_call_are_picklable() -> None:
    assert pickle.loads(pickle.dumps(publication("1"))) == publication("1")
