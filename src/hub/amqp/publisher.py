"""Publishing with confirms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Final, Never, final

from anyio import Event

from hub.amqp.message import Message
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.protocol.confirms import ConfirmBatch
from hub.amqp.wait import wait_reply
from hub.errors import PublishRefused

HIGH_WATER: Final = 1024 * 1024
"""Bytes that wait for the socket before publishers wait too. Enough that the writer never runs dry."""


@final
class Publisher:
    """A channel on which every message is confirmed; made by `Connection.publisher`. Any number of tasks may use it."""

    def __init__(self, state: ChannelState, room: Callable[[int], Awaitable[None]]) -> None:
        self._state = state
        self._room = room
        self._closed = Event()
        state.on_closed = self._closed.set

    @property
    def usable(self) -> bool:
        return self._state.closed is None

    @property
    def unconfirmed(self) -> int:
        return self._state.unconfirmed

    async def publish(self, messages: Sequence[Message]) -> Sequence[PublishRefused | None]:
        """Sends messages and waits until the broker has answered for each of them.

        While the broker is blocked (out of memory or disk) it waits, and sends nothing. On cancellation what has been
        sent is published or not; a message is never sent in part.

        Returns:
            For each message `None`, or why the broker did not take it: `Unroutable`, `QueueFull`, `MessageTooLarge`.

        Raises:
            ConnectionLost: The connection broke, or the server closed the channel: the fate of at least one message is unknown.
        """
        batch = ConfirmBatch(messages)
        try:
            while batch.sent < len(messages):
                await self._room(HIGH_WATER)
                self._state.publish(batch, high_water=HIGH_WATER)
        except BaseException:
            batch.reply.cancel()
            raise
        return await wait_reply(batch.reply)

    async def lost(self) -> Never:
        """Waits for the end.

        Raises:
            ConnectionLost: Always.
        """
        while self._state.closed is None:
            await self._closed.wait()
        raise copy(self._state.closed)
