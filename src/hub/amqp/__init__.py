"""An AMQP 0-9-1 client on anyio: structured, cancellable anywhere, on asyncio and trio.

`connect` gives a `AmqpConnection`; that gives a `Channel` for declaring and consuming, and a `Publisher`. The protocol
itself, without I/O, is in `hub.amqp.protocol`.
"""

from hub.amqp.address import AmqpAddress as AmqpAddress, Mechanism as Mechanism
from hub.amqp.channel import Channel as Channel
from hub.amqp.connection import AmqpConnection as AmqpConnection, connect as connect
from hub.amqp.consumer import ChannelConsumer as ChannelConsumer
from hub.amqp.errors import (
    ChannelClosed as ChannelClosed,
    ConnectionClosed as ConnectionClosed,
    ConsumerCancelled as ConsumerCancelled,
    LoginRefused as LoginRefused,
    MessageTooLarge as MessageTooLarge,
    ProtocolViolation as ProtocolViolation,
    TooManyChannels as TooManyChannels,
)
from hub.amqp.message import Message as Message, ReceivedMessage as ReceivedMessage, Route as Route
from hub.amqp.options import AmqpOptions as AmqpOptions
from hub.amqp.publisher import Publisher as Publisher
