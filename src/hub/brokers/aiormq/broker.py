"""`amqp+aiormq://` and `amqps+aiormq://`: RabbitMQ through aiormq, on asyncio only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NoReturn, Self, final

import aiormq
import structlog
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError
from anyio import AsyncContextManagerMixin, create_task_group, move_on_after
from pamqp.commands import Basic
from sniffio import current_async_library
from typing_extensions import override

from hub.amqp.alarm import PROBE_KEY, Alarm, watch
from hub.amqp.nodes import Nodes, node_urls
from hub.amqp.session import ReconnectingSession
from hub.brokers.aiormq.consumer import FLUSH_TIMEOUT, AiormqConsumer
from hub.brokers.aiormq.dead_letters import lease_dead_letters
from hub.brokers.aiormq.queues import declare, declare_delays, depths
from hub.brokers.aiormq.session import CONNECT_TIMEOUT, AiormqSession, address_of, open_session
from hub.brokers.delays import Delays, Refusals, publish_delayed
from hub.brokers.options import BrokerOptions
from hub.brokers.publishing import FIRST_RENEWAL, RenewingPublisher
from hub.brokers.topology import delay_queue, expiration
from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import ConfigurationError, ConnectionLost, PublishRefused, QueueFull, Unroutable
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
from hub.types import ModelName

_PERSISTENT: Final = 2

_log = structlog.get_logger("hub.brokers")


@final
class AiormqBroker(AsyncContextManagerMixin, Broker):
    """RabbitMQ 3.10 or later, through the client that most of the asyncio world builds on.

    One connection publishes, another one declares and asks, and each `consume` has its own. The first two come back by
    themselves.

    Args:
        url: With scheme `amqp+aiormq` or `amqps+aiormq`; query parameters are aiormq's (`heartbeat`, `cafile`, ...). It
            may name several nodes of one cluster, see `hub.amqp.nodes`.
        options: How queues are declared.

    Raises:
        ConfigurationError: The URL makes no sense; on entry: this is not asyncio.
    """

    def __init__(self, url: str, options: BrokerOptions | None = None) -> None:
        self._nodes = Nodes(node_urls(url), name=_node)
        self._alarm = Alarm(str(self._nodes))
        self._options = options or BrokerOptions()
        server = str(self._nodes)
        self._control = ReconnectingSession(self._enter_control, name=f"{server} control (aiormq)")
        self._publishing = ReconnectingSession(self._enter_publishing, name=f"{server} publishing (aiormq)", lazy=True)
        self._keep_channel = FIRST_RENEWAL
        self._publications = 0
        self._published = False
        self._consumers: set[AiormqConsumer] = set()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if current_async_library() != "asyncio":
            raise ConfigurationError(
                f"amqp+aiormq:// runs on asyncio only, and this is {current_async_library()}: "
                "use amqp:// instead, which runs on both, or start with --backend asyncio"
            )
        with collapse_exception_group():
            async with self._control, self._publishing:
                self._publishing.want()
                yield self

    @override
    async def declare(self, queue: ModelName) -> None:
        await declare(await self._control.acquire(), queue, self._options)

    @override
    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        self._publications += len(publications)
        self._published = True
        try:
            if any(publication.delay > 0 for publication in publications):
                return await publish_delayed(publications, self._declare_delays, self._publish)
            return await self._publish(publications)
        finally:
            self._publications -= len(publications)

    @override
    @asynccontextmanager
    async def consume(self, queue: ModelName, *, prefetch: int) -> AsyncGenerator[Consumer]:
        async with self._connected() as session:
            await declare(session, queue, self._options)
            consumer = AiormqConsumer(session)
            await consumer.subscribe(queue, prefetch=prefetch)
            self._consumers.add(consumer)
            try:
                yield consumer
            finally:
                self._consumers.discard(consumer)
                with move_on_after(FLUSH_TIMEOUT, shield=True):
                    await consumer.flushed()

    @override
    @asynccontextmanager
    async def dead_letters(self, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
        async with self._connected() as session, lease_dead_letters(session, queue, limit=limit) as letters:
            yield letters

    @override
    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        return await depths(await self._control.acquire(), queues)

    @override
    def statistics(self) -> BrokerStatistics:
        return BrokerStatistics(
            connected=self._control.connected and (self._publishing.connected or not self._published),
            publishing=self._publications,
            consumers=len(self._consumers),
            unacked=sum(consumer.unsettled for consumer in self._consumers),
            reconnects=self._control.reconnects + self._publishing.reconnects,
            blocked=self._alarm.reason,
            nodes=self._nodes.connections,
        )

    async def _publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        publisher = await self._publishing.acquire_or_wait()
        return await publisher.publish(publications)

    async def _declare_delays(self, delays: Delays) -> Refusals:
        return await declare_delays(await self._control.acquire_or_wait(), delays, self._options)

    @asynccontextmanager
    async def _enter_control(self) -> AsyncGenerator[AiormqSession]:
        async with self._connected() as session:
            yield session

    @asynccontextmanager
    async def _enter_publishing(self) -> AsyncGenerator[RenewingPublisher[Publication]]:
        try:
            async with self._connected(on_blocked=self._alarm.changed) as session:
                try:
                    channel = await session.call(session.connection.channel(), "publishing channel")
                except AMQPError as error:
                    raise session.connection_lost(error) from error
                publisher = _Publisher(session, channel)
                publishing = RenewingPublisher(publisher, server=session.server, keep=self._keep_channel)
                with collapse_exception_group():
                    async with create_task_group() as tg:
                        tg.start_soon(_watch_alarm, session, name="hub.brokers alarm")
                        try:
                            yield publishing
                        finally:
                            self._keep_channel = publishing.next_keep
                            tg.cancel_scope.cancel("publishing ends")
        finally:
            self._alarm.forget()

    def _connected(
        self, *, on_blocked: Callable[[str | None], None] = lambda _reason: None
    ) -> AbstractAsyncContextManager[AiormqSession]:
        timeout = self._nodes.timeout(CONNECT_TIMEOUT)
        return self._nodes.connected(
            lambda url: open_session(url, self._options, connect_timeout=timeout, on_blocked=on_blocked)
        )


def _node(url: str) -> str:
    return address_of(url).node


async def _watch_alarm(session: AiormqSession) -> None:
    try:
        channel = await session.call(session.connection.channel(), "channel of probes")
        await watch(lambda: session.call(channel.basic_publish(b"", routing_key=PROBE_KEY), "probe"))
    except (AMQPError, ConnectionLost) as lost:
        # The connection has ended, and the next one is watched; or the user of the URL may not publish.
        _log.debug("alarms of the broker are noticed by publishing only", server=session.server, reason=str(lost))


@final
class _Publisher:
    """A session with a channel in confirm mode."""

    def __init__(self, session: AiormqSession, channel: AbstractChannel) -> None:
        self._session = session
        self._channel = channel

    @property
    def usable(self) -> bool:
        return self._session.usable and not self._channel.is_closed

    async def lost(self) -> NoReturn:
        await self._session.lost()

    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        results = await self._session.call(self._publish(publications), f"publish {len(publications)}")
        return [self._judge(each, result) for each, result in zip(publications, results, strict=True)]

    async def _publish(self, publications: Sequence[Publication]) -> list[object]:
        return await asyncio.gather(*(self._publish_one(each) for each in publications), return_exceptions=True)

    async def _publish_one(self, publication: Publication) -> None:
        queue, delay = publication.queue, publication.delay
        await self._channel.basic_publish(
            publication.body,
            routing_key=delay_queue(queue, delay) if delay > 0 else queue,
            mandatory=True,
            properties=Basic.Properties(
                content_type="application/x-protobuf",
                message_type="hub.v1.Task",
                app_id="hub",
                delivery_mode=_PERSISTENT,
                expiration=str(expiration(delay)) if delay > 0 else None,
                message_id=publication.message_id,
                timestamp=datetime.fromtimestamp(int(publication.timestamp), UTC),
                headers=dict(publication.headers),
            ),
        )

    def _judge(self, publication: Publication, result: object) -> PublishRefused | None:
        match result:
            case aiormq.exceptions.PublishError():
                return Unroutable(publication.queue, "there is no such queue")
            case aiormq.exceptions.DeliveryError():
                return QueueFull(publication.queue, "the broker refused it (basic.nack): it is at its maximum length")
            case BaseException():
                raise self._session.connection_lost(result) from result
            case _:
                return None
