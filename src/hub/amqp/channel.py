"""Declaring things, and consuming."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, final

from anyio import move_on_after
from pamqp import base, commands

from hub.amqp.consumer import ChannelConsumer
from hub.amqp.errors import NOT_FOUND, ChannelClosed
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.wait import CLOSE_TIMEOUT, wait_reply

R = TypeVar("R", bound=base.Frame)


@final
class Channel:
    """One AMQP channel; made by `Connection.channel`.

    The server closes a channel on most errors, such as a declaration that does not fit: the call raises
    `ChannelClosed`, and so does every later one. So use a channel of its own for what may be refused.

    A call that is cancelled leaves the channel intact; whether the server has carried it out is unknown, except that
    a consumer whose caller was cancelled is cancelled too.
    """

    def __init__(self, state: ChannelState) -> None:
        self._state = state

    async def call(self, request: base.Frame, expected: type[R]) -> R:
        """Sends any method that the server answers, and waits for the answer.

        Raises:
            ChannelClosed: The server refused.
            ConnectionLost: The connection broke.
        """
        return await wait_reply(self._state.call(request, expected))

    async def declare_queue(self, name: str, arguments: Mapping[str, str | int] | None = None) -> None:
        """Creates a durable queue, if it does not exist.

        Raises:
            ChannelClosed: With 406 when it exists with other arguments, 403 when that is not allowed.
            ConnectionLost: The connection broke.
        """
        declare = commands.Queue.Declare(queue=name, durable=True, arguments=dict(arguments or {}))
        await self.call(declare, commands.Queue.DeclareOk)

    async def inspect_queue(self, name: str) -> commands.Queue.DeclareOk:
        """How many messages wait in a queue, and how many consumers it has: a passive declaration.

        Raises:
            ChannelClosed: With 404 when there is no such queue, and nothing more can be done on this channel.
            ConnectionLost: The connection broke.
        """
        return await self.call(commands.Queue.Declare(queue=name, passive=True), commands.Queue.DeclareOk)

    async def inspect_queues(self, names: Sequence[str]) -> Sequence[commands.Queue.DeclareOk]:
        """Inspects many queues in one round trip, in this order, until one does not exist.

        Returns:
            What `inspect_queue` returns, for each queue before the first that does not exist. If there is one, the list
            is shorter than `names`, and nothing more can be done on this channel.

        Raises:
            ChannelClosed: The server refused for another reason.
            ConnectionLost: The connection broke.
        """
        expected = commands.Queue.DeclareOk
        replies = [self._state.call(commands.Queue.Declare(queue=name, passive=True), expected) for name in names]
        found: list[commands.Queue.DeclareOk] = []
        try:
            for reply in replies:
                found += [await wait_reply(reply)]
        except ChannelClosed as closed:
            if closed.reply_code != NOT_FOUND:
                raise
        return found

    async def declare_exchange(self, name: str, kind: str = "direct") -> None:
        """Creates a durable exchange, if it does not exist.

        Raises:
            ChannelClosed: With 406 when it exists and is of another kind.
            ConnectionLost: The connection broke.
        """
        declare = commands.Exchange.Declare(exchange=name, exchange_type=kind, durable=True)
        await self.call(declare, commands.Exchange.DeclareOk)

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        """Lets messages with this routing key through from the exchange to the queue.

        Raises:
            ChannelClosed: With 404 when one of the two does not exist.
            ConnectionLost: The connection broke.
        """
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self.call(bind, commands.Queue.BindOk)

    async def delete_queue(self, name: str) -> None:
        """Deletes a queue and all that is in it; does nothing when it does not exist.

        Raises:
            ConnectionLost: The connection broke.
        """
        await self.call(commands.Queue.Delete(queue=name), commands.Queue.DeleteOk)

    async def tx_select(self) -> None:
        """Starts a transaction: what is settled on this channel gathers at the server until `tx_commit`.

        Raises:
            ConnectionLost: The connection broke.
        """
        await self.call(commands.Tx.Select(), commands.Tx.SelectOk)

    async def tx_commit(self) -> None:
        """Carries out what was settled since `tx_select`, or since the last `tx_commit`: for each queue in one step.

        Raises:
            ConnectionLost: The connection broke; whether it was carried out is unknown.
        """
        await self.call(commands.Tx.Commit(), commands.Tx.CommitOk)

    @asynccontextmanager
    async def consume(self, queue: str, *, prefetch: int) -> AsyncGenerator[ChannelConsumer]:
        """Subscribes to a queue.

        Leaving the block ends the subscription, and hands back what was not received. What was received and not
        settled stays unsettled until the channel is closed.

        Args:
            queue: The queue's name.
            prefetch: Unsettled messages at a time, from 1 to 65535; it also bounds what is held in memory.

        Raises:
            ChannelClosed: With 404 when there is no such queue.
            ConnectionLost: The connection broke.
        """
        await self.call(commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk)
        subscription, started = self._state.subscribe(queue)
        await wait_reply(started)
        consumer = ChannelConsumer(self._state, subscription)
        try:
            yield consumer
        finally:
            with move_on_after(CLOSE_TIMEOUT, shield=True):
                await consumer.stop()
