"""Message classes of untrusted descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.reflection import GeneratedProtocolMessageType


def classes_of(messages: Iterable[Descriptor]) -> Sequence[type[Message]]:
    """The classes of `messages` and of every message that they can contain, made without recursion.

    protobuf's `GetMessageClass` makes the classes of all fields within each other and fails at about 330 messages in a row.
    It finds the classes that are made here as long as the result is kept: protobuf itself only refers to them weakly.
    """
    found: dict[str, type[Message]] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name in found:
            continue
        made = GeneratedProtocolMessageType(message.name, (Message,), {"DESCRIPTOR": message, "__module__": None})
        found[message.full_name] = cast("type[Message]", made)  # the metaclass makes subclasses of Message
        fields = [*message.fields, *message.extensions]
        if message.is_extendable:
            fields.extend(message.file.pool.FindAllExtensions(message))
        for field in fields:
            waiting.extend(each for each in (field.message_type, field.containing_type) if each is not None)
    return [*found.values()]
