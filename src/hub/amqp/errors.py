"""What can go wrong on an AMQP connection. Everything that ends a connection is a `ConnectionLost`."""

from __future__ import annotations

from typing import ClassVar, Final

from typing_extensions import override

from hub.errors import ConnectionLost, ConnectionRefused, HubError, PublishRefused

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
PRECONDITION_FAILED: Final = 406


class ProtocolViolation(ConnectionLost):
    """The peer sent something that AMQP 0-9-1 does not allow; nothing after it can be trusted."""

    code = "amqp_protocol_violation"


class _ServerClose(ConnectionLost):
    """The server gave a reply code and a text, and closed what they are about."""

    closed: ClassVar[str]

    def __init__(self, server: str, reply_code: int, reply_text: str) -> None:
        super().__init__(server, f"the server closed the {self.closed}: {reply_code} {reply_text}")
        self.args = (server, reply_code, reply_text)
        self.reply_code = reply_code
        self.reply_text = reply_text

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"reply_code": self.reply_code, "reply_text": self.reply_text}


class ConnectionClosed(_ServerClose):
    """`connection.close` from the server, such as 320 when it shuts down."""

    code = "amqp_connection_closed"
    closed = "connection"


class NotAmqp(ProtocolViolation, ConnectionRefused):
    """The first bytes of the server are not AMQP 0-9-1: it is another kind of server."""

    code = "amqp_not_spoken"


class LoginRefused(ConnectionClosed, ConnectionRefused):
    """403 or 530 before the connection was open: wrong credentials, no such virtual host, or no permission for it."""

    code = "amqp_login_refused"

    def __init__(self, server: str, reply_code: int, reply_text: str) -> None:
        super().__init__(server, reply_code, reply_text)
        repair = (
            "check user and password in the URL, and write special characters as %XX"
            if reply_code == ACCESS_REFUSED
            else "create the virtual host that the URL ends with and give the user permissions for it, or use another one"
        )
        self.reason = f"{self.reason.rstrip('.')}: {repair}"


class ChannelClosed(_ServerClose):
    """`channel.close` from the server, such as 404 and 406; the connection and its other channels go on."""

    code = "amqp_channel_closed"
    closed = "channel"


class ConsumerCancelled(ConnectionLost):
    """`basic.cancel` from the server: the queue was deleted, or the node that led it went away."""

    code = "amqp_consumer_cancelled"

    def __init__(self, server: str, queue: str) -> None:
        super().__init__(server, f"the server cancelled the consumer of queue {queue!r}; was the queue deleted?")
        self.args = (server, queue)
        self.queue = queue


class TooManyChannels(HubError):
    """Every channel number that was negotiated is in use."""

    code = "amqp_too_many_channels"
    status = 503
    title = "No free channel"

    def __init__(self, server: str, channel_max: int) -> None:
        super().__init__(server, channel_max)
        self.server = server
        self.channel_max = channel_max

    @override
    def __str__(self) -> str:
        return f"all {self.channel_max} channels of the connection to {self.server} are in use"


class MessageTooLarge(PublishRefused):
    """The body is over the limit of the connection; it was not sent."""

    code = "message_too_large"
    status = 413
    title = "The task is too large for the broker"

    def __init__(self, queue: str, size: int, limit: int) -> None:
        super().__init__(queue, f"{size} bytes, and at most {limit} are allowed")
        self.args = (queue, size, limit)
        self.size = size
        self.limit = limit

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"size": self.size, "limit": self.limit}

    @property
    @override
    def retry_after(self) -> float | None:
        return None
