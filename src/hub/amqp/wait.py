"""The only place where a task waits for the protocol."""

from __future__ import annotations

from typing import Final, TypeVar

from anyio import Event
from anyio.lowlevel import checkpoint

from hub.amqp.protocol.pending_reply import PendingReply

T = TypeVar("T")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for a close handshake in a `finally`. A healthy broker answers within milliseconds; one that does not
answer in this time is not waited for, since closing the socket has the same effect."""


async def wait_reply(reply: PendingReply[T]) -> T:
    """Waits for an answer.

    On cancellation the reply is abandoned: the answer is dropped when it comes, and what the request did is undone,
    also when it came in the very moment of the cancellation.

    Raises:
        ConnectionLost: The connection broke first, or the server closed the channel instead of answering.
    """
    try:
        if reply.settled:
            await checkpoint()
        else:
            event = Event()
            reply.on_settled = event.set
            await event.wait()
    except BaseException:
        reply.cancel()
        raise
    return reply.result()
