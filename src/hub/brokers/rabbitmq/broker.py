"""`amqp://` and `amqps://`: RabbitMQ through hub's own driver, on asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, create_task_group
from msgspec import structs
from typing_extensions import override

from hub.amqp import AmqpAddress, AmqpConnection, AmqpOptions, Message, Route, connect
from hub.amqp.alarm import PROBE_KEY, Alarm, watch
from hub.amqp.nodes import Nodes, node_urls
from hub.amqp.session import ReconnectingSession
from hub.brokers.delays import Delays, Refusals, publish_delayed
from hub.brokers.options import BrokerOptions
from hub.brokers.publishing import FIRST_RENEWAL, RenewingPublisher
from hub.brokers.rabbitmq.consumer import AmqpConsumer
from hub.brokers.rabbitmq.dead_letters import LARGEST_BODY, lease_dead_letters
from hub.brokers.rabbitmq.queues import declare, declare_delays, depths
from hub.brokers.topology import delay_queue, expiration
from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import ConnectionLost, PublishRefused
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
from hub.types import ModelName

_KEPT_ROUTES: Final = 4096
"""One route per queue; the bound is for programs that make names up."""

_log = structlog.get_logger("hub.brokers")


@final
class AmqpBroker(AsyncContextManagerMixin, Broker):
    """RabbitMQ 3.10 or later.

    Holds one connection for declaring and asking, and a second one for publishing: RabbitMQ stops reading from
    connections that publish when it runs out of memory or disk, and questions must be answered even then. The second
    one publishes a probe now and then, so that such an alarm is known (`hub.amqp.alarm`). Both come back by themselves.
    Each `consume` has a connection of its own, which does not.

    Args:
        url: See `AmqpAddress.parse`; its query overrides the options. It may name several nodes of one
            cluster, see `hub.amqp.nodes`: then `connect_timeout` is shared out among them, and what the query says of
            it holds for each.
        options: How queues are declared.
        link: How connections are opened and kept, but for what `options` says.

    Raises:
        ConfigurationError: The URL makes no sense.
    """

    def __init__(self, url: str, options: BrokerOptions | None = None, link: AmqpOptions | None = None) -> None:
        self._options = options or BrokerOptions()
        addresses = [AmqpAddress.parse(each) for each in node_urls(url)]
        self._nodes = Nodes(addresses, name=lambda address: address.node)
        link = link or AmqpOptions()
        self._link_options = replace(
            link,
            heartbeat=self._options.heartbeat,
            connection_name=self._options.connection_name,
            connect_timeout=self._nodes.timeout(link.connect_timeout),
        )
        self._addresses = addresses
        self._alarm = Alarm(str(self._nodes))
        server = addresses[0].server if len(addresses) == 1 else f"amqp nodes {self._nodes}"
        self._control = ReconnectingSession(self._enter_control, name=f"{server} control")
        self._publishing = ReconnectingSession(self._enter_publishing, name=f"{server} publishing", lazy=True)
        self._keep_channel = FIRST_RENEWAL
        self._publications = 0
        self._published = False
        self._consumers: set[AmqpConsumer] = set()
        self._routes: dict[str, Route] = {}

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._addresses[0].options(self._link_options)  # wrong certificates are reported now, not on a retry
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
            delayed = [publication for publication in publications if publication.delay > 0]
            if delayed:
                return await publish_delayed(publications, self._declare_delays, self._publish)
            return await self._publish(publications)
        finally:
            self._publications -= len(publications)

    @override
    @asynccontextmanager
    async def consume(self, queue: ModelName, *, prefetch: int) -> AsyncGenerator[Consumer]:
        async with self._connected() as connection:
            await declare(connection, queue, self._options)
            async with connection.channel() as channel, channel.consume(queue, prefetch=prefetch) as subscription:
                consumer = AmqpConsumer(subscription)
                self._consumers.add(consumer)
                try:
                    yield consumer
                finally:
                    self._consumers.discard(consumer)

    @override
    @asynccontextmanager
    async def dead_letters(self, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
        async with (
            self._connected(body_limit=LARGEST_BODY) as connection,
            lease_dead_letters(connection, queue, limit=limit) as letters,
        ):
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

    @asynccontextmanager
    async def _enter_control(self) -> AsyncGenerator[AmqpConnection]:
        async with self._connected() as connection:
            yield connection

    @asynccontextmanager
    async def _enter_publishing(self) -> AsyncGenerator[RenewingPublisher[Message]]:
        try:
            async with (
                self._connected(on_blocked=self._alarm.changed) as connection,
                connection.publisher() as publisher,
            ):
                publishing = RenewingPublisher(publisher, server=connection.server, keep=self._keep_channel)
                with collapse_exception_group():
                    async with create_task_group() as tg:
                        tg.start_soon(_watch_alarm, connection, name="hub.brokers alarm")
                        try:
                            yield publishing
                        finally:
                            self._keep_channel = publishing.next_keep
                            tg.cancel_scope.cancel("publishing ends")
        finally:
            self._alarm.forget()

    def _connected(
        self,
        *,
        body_limit: int | None = None,
        on_blocked: Callable[[str | None], None] = lambda _reason: None,
    ) -> AbstractAsyncContextManager[AmqpConnection]:
        def connect_to(address: AmqpAddress) -> AbstractAsyncContextManager[AmqpConnection]:
            options = address.options(self._link_options)
            if body_limit is not None:
                options = replace(options, body_limit=body_limit)
            return connect(replace(address, query=()), options, on_blocked=on_blocked)  # the options include the query

        return self._nodes.connected(connect_to)

    async def _publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        publisher = await self._publishing.acquire_or_wait()
        return await publisher.publish([self._message(publication) for publication in publications])

    async def _declare_delays(self, delays: Delays) -> Refusals:
        return await declare_delays(await self._control.acquire_or_wait(), delays, self._options)

    def _message(self, publication: Publication) -> Message:
        if publication.delay > 0:
            return self._delayed_message(publication)
        queue = publication.queue
        route = self._routes.get(queue)
        if route is None:
            if len(self._routes) >= _KEPT_ROUTES:
                self._routes.clear()
            route = self._routes[queue] = Route(
                routing_key=queue, content_type="application/x-protobuf", type="hub.v1.Task", app_id="hub"
            )
        return Message(
            route=route,
            body=publication.body,
            message_id=publication.message_id,
            timestamp=int(publication.timestamp),
            headers=publication.headers,
        )

    def _delayed_message(self, publication: Publication) -> Message:
        queue = delay_queue(publication.queue, publication.delay)
        message = self._message(replace(publication, queue=queue, delay=0.0))
        return structs.replace(message, expiration=expiration(publication.delay))


_PROBE: Final = Message(
    route=Route(routing_key=PROBE_KEY, mandatory=False, persistent=False, app_id="hub"),
    body=b"",
    message_id="",
    timestamp=0,
)


async def _watch_alarm(connection: AmqpConnection) -> None:
    try:
        async with connection.publisher() as publisher:
            await watch(partial(publisher.publish, [_PROBE]))
    except ConnectionLost as lost:
        # The connection has ended, and the next one is watched; or the user of the URL may not publish.
        _log.debug("alarms of the broker are noticed by publishing only", server=connection.server, reason=str(lost))
