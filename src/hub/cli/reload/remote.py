"""Broker and store of the process of the models: those of `hub up`, called over a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, cast, final

from typing_extensions import override

from hub.cli.reload.calls import CallClient
from hub.errors import ConnectionLost
from hub.ports.broker import Broker, BrokerStatistics, Consumer, Delivery
from hub.ports.result_store import ResultStore, StoreStatistics
from hub.types import ModelName

BROKER: Final = "broker"
STORE: Final = "store"
"""The targets of the calls."""


def remote_broker(calls: CallClient) -> Broker:
    # Each method that RemoteBroker does not have is async in the port, and is called there; a test compares the two.
    return cast("Broker", RemoteBroker(calls))


def remote_store(calls: CallClient, channel: str) -> ResultStore:
    # As above.
    return cast("ResultStore", RemoteStore(calls, channel))


@final
class RemoteStore:
    """Calls the store of the parent. Statistics are those of the parent's own pages; here the store counts as connected."""

    def __init__(self, calls: CallClient, channel: str) -> None:
        self._calls = calls
        self.channel: Final = channel

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._calls.call, STORE, method)

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(connected=True, waiting=0, flushes=0, commands=0, dropped_outcomes=0, reconnects=0)


@final
class RemoteBroker:
    """Calls the broker of the parent."""

    def __init__(self, calls: CallClient) -> None:
        self._calls = calls
        self._consumers: list[RemoteConsumer] = []

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._calls.call, BROKER, method)

    @asynccontextmanager
    async def consume(self, queue: ModelName, *, prefetch: int) -> AsyncGenerator[Consumer]:
        async with self._calls.enter(BROKER, "consume", queue, prefetch=prefetch) as target:
            consumer = RemoteConsumer(self._calls, target)
            self._consumers.append(consumer)
            try:
                yield consumer
            finally:
                self._consumers.remove(consumer)

    def dead_letters(self, queue: ModelName, *, limit: int) -> AbstractAsyncContextManager[Any]:
        raise NotImplementedError(f"instances do not read dead letters ({queue}, {limit})")

    def statistics(self) -> BrokerStatistics:
        unacked = sum(consumer.unsettled for consumer in self._consumers)
        return BrokerStatistics(
            connected=True, publishing=0, consumers=len(self._consumers), unacked=unacked, reconnects=0
        )


@final
class RemoteConsumer(Consumer):
    """A subscription of the parent's broker."""

    def __init__(self, calls: CallClient, target: str) -> None:
        self._calls = calls
        self._target = target
        self._unsettled: set[int] = set()

    @property
    @override
    def unsettled(self) -> int:
        """Those that were received here; the parent may hold some more."""
        return len(self._unsettled)

    @override
    async def receive(self) -> Sequence[Delivery]:
        try:
            deliveries: Sequence[Delivery] = await self._calls.call(self._target, "receive")
        except ConnectionLost:
            self._unsettled.clear()  # they are back on the queue
            raise
        self._unsettled.update(delivery.tag for delivery in deliveries)
        return deliveries

    @override
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        self._calls.notify(self._target, "ack", self._settled(deliveries))

    @override
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        self._calls.notify(self._target, "requeue", self._settled(deliveries))

    @override
    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        self._calls.notify(self._target, "reject", self._settled(deliveries), requeue=requeue)

    @override
    async def stop(self) -> None:
        await self._calls.call(self._target, "stop")

    def _settled(self, deliveries: Iterable[Delivery]) -> Sequence[Delivery]:
        settled = list(deliveries)
        self._unsettled.difference_update(delivery.tag for delivery in settled)
        return settled
