"""Requests of one channel that wait for their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, final

from pamqp import base, commands
from typing_extensions import override

from hub.amqp.errors import ProtocolViolation
from hub.amqp.protocol.pending_reply import PendingReply

R = TypeVar("R", bound=base.Frame)


class _Pending(Protocol):
    def answer(self, method: base.Frame) -> bool: ...

    def expects(self, method: base.Frame) -> bool: ...

    def fail(self, error: Exception) -> None: ...


@final
class _PendingRequest(_Pending, Generic[R]):
    __slots__ = ("_expected", "reply")

    def __init__(self, expected: type[R], undo: Callable[[R], None] | None) -> None:
        self._expected = expected
        self.reply = PendingReply[R](undo)

    @override
    def expects(self, method: base.Frame) -> bool:
        return isinstance(method, self._expected)

    @override
    def answer(self, method: base.Frame) -> bool:
        if not isinstance(method, self._expected):
            return False
        self.reply.succeed(method)
        return True

    @override
    def fail(self, error: Exception) -> None:
        self.reply.fail(error)


@final
class PendingRequests:
    """The line of requests of one channel: the server answers in the order in which it was asked."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._line: deque[_Pending] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def add(self, expected: type[R], undo: Callable[[R], None] | None = None) -> PendingReply[R]:
        """Notes that a request was sent which `expected` answers. `undo` takes it back if its caller goes away."""
        call = _PendingRequest(expected, undo)
        self._line.append(call)
        return call.reply

    def answered(self, method: base.Frame) -> None:
        """Hands an answer to the request at the front of the line.

        RabbitMQ answers `channel.close` from the process that reads the socket, but `basic.consume` from that of the
        queue, so `channel.close-ok` may overtake. The answers that it overtook never come.

        Raises:
            ProtocolViolation: No request is waiting for it.
        """
        if isinstance(method, commands.Channel.CloseOk):
            while self._line and not self._line[0].expects(method):
                self._line.popleft().fail(ProtocolViolation(self._server, "the channel was closed before the answer"))
        if not self._line:
            raise ProtocolViolation(self._server, f"{method.name}, which was not asked for")
        first = self._line.popleft()
        if not first.answer(method):
            error = ProtocolViolation(self._server, f"{method.name}, which does not answer the oldest request")
            first.fail(error)
            raise error

    def fail(self, error: Exception, *, but: type[base.Frame] | None = None) -> None:
        """Fails every request; those that a method of the type `but` answers stay in the line."""
        kept = but() if but is not None else None
        line, self._line = self._line, deque()
        for call in line:
            if kept is not None and call.expects(kept):
                self._line.append(call)
            else:
                call.fail(error)
