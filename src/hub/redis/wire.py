"""One TCP connection to Redis: which replies belong to which call, and what breaks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast, final

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, Event, current_time, sleep, sleep_until
from anyio.abc import ByteStream
from hiredis import ProtocolError, Reader, pack_command  # pyright: ignore[reportUnknownVariableType]  # it returns bytes

from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost
from hub.redis.connection import Command, ErrorReply, ErrorReplyKind, Reply

READ_SIZE: Final = 65536
"""Bytes of one read at most."""

LAST_READ: Final = 0.05
"""Seconds for a read of what has arrived when the time for an answer is over."""

_KINDS: Final = {
    "NOSCRIPT": ErrorReplyKind.NO_SCRIPT,
    "READONLY": ErrorReplyKind.NOT_PRIMARY,
    "WRONGTYPE": ErrorReplyKind.WRONG_TYPE,
}
_INCOMPLETE: Final = object()
_LOST: Final = (OSError, EndOfStream, BrokenResourceError, ClosedResourceError, ProtocolError)


@final
class RefusedReply(Exception):
    """An error reply, as hiredis returns it."""


@final
class _Call:
    """Commands that were sent together, and the replies to them that have arrived."""

    __slots__ = ("began", "count", "done", "replies")

    def __init__(self, count: int) -> None:
        self.count = count
        self.began = current_time()
        self.replies: list[Reply] = []
        self.done = Event()


@final
class RedisWire:
    """One TCP connection: what is sent at the same time is written at once, and replies go to the calls in order.

    Args:
        stream: Closed by its owner.
        server: For errors.
        read_timeout: Seconds without an answer, or a part of one, after which a call breaks the connection.
        on_push: Called with each message that is no reply.
        on_broken: Called once when the connection ends.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        server: str,
        read_timeout: float,
        on_push: Callable[[object], None],
        on_broken: Callable[[str], None],
    ) -> None:
        self._stream = stream
        self._server = server
        self._read_timeout = read_timeout
        self._on_push = on_push
        self._on_broken = on_broken
        self._unsent: list[bytes] = []
        self._changed = Notifier()
        self._calls: deque[_Call] = deque()
        self._heard_at = current_time()
        self._reason: str | None = None

    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        """See `RedisConnection.call`."""
        if self._reason is None and commands:
            call = _Call(len(commands))
            self._calls.append(call)
            self._unsent += [pack_command(command) for command in commands]  # type: ignore[arg-type]  # of hiredis, a tuple of one
            self._changed.notify()
            await call.done.wait()
            if len(call.replies) == call.count:
                return call.replies
        if self._reason is None:
            return []
        raise ConnectionLost(self._server, self._reason)

    def abort(self, reason: str) -> None:
        """Ends all calls with `ConnectionLost`. The first reason stands."""
        if self._reason is None:
            self._reason = reason
            self._changed.notify()
            for call in self._calls:
                call.done.set()
            self._on_broken(reason)

    async def write(self) -> None:
        """Sends what calls leave, until the connection ends."""
        try:
            while self._reason is None:
                if not self._unsent:
                    await self._changed.wait()
                    continue
                data, self._unsent = b"".join(self._unsent), []
                await self._stream.send(data)
        except _LOST as error:
            self.abort(reason_of(error))

    async def read(self) -> None:
        """Gives replies to their calls, until the connection ends."""
        reader = Reader(replyError=RefusedReply, notEnoughData=_INCOMPLETE)
        try:
            while self._reason is None:
                reader.feed(await self._stream.receive(READ_SIZE))
                self._heard_at = current_time()
                while (reply := reader.gets()) is not _INCOMPLETE:
                    self._on_reply(reply)
        except _LOST as error:
            self.abort(reason_of(error))

    async def watch(self) -> None:
        """Breaks the connection when the server does not answer in time."""
        while self._reason is None:
            due = self._due()
            if current_time() < due:
                await sleep_until(due)
                continue
            await sleep(LAST_READ)  # an event loop that stood still may not have read yet what has arrived
            if self._due() == due:
                self.abort(f"no answer within {self._read_timeout:g} s")

    def _due(self) -> float:
        """When a part of an answer has to have arrived; later if nothing is waited for."""
        waits_since = max(self._heard_at, self._calls[0].began) if self._calls else current_time()
        return waits_since + self._read_timeout

    def _on_reply(self, reply: object) -> None:
        if not self._calls:
            self._on_push(reply)
            return
        call = self._calls[0]
        call.replies.append(_error_reply(str(reply)) if isinstance(reply, RefusedReply) else cast("Reply", reply))
        if len(call.replies) == call.count:
            self._calls.popleft()
            call.done.set()


def _error_reply(text: str) -> ErrorReply:
    code, _, rest = text.partition(" ")
    return ErrorReply(_KINDS.get(code, ErrorReplyKind.OTHER), rest if code == "ERR" else text)


def reason_of(error: BaseException) -> str:
    """An error and its causes, in words."""
    if isinstance(error, EndOfStream):
        return "the server closed the connection"
    causes = [str(error) or type(error).__name__]
    while (cause := error.__cause__) is not None:
        error = cause
        causes.append(str(error) or type(error).__name__)
    return ": ".join(causes)
