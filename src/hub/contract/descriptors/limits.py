"""Limits of what a contract may declare: its sender chooses the size, and all components pay for compiling it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.contract.errors import InvalidContract
from hub.types import MAX_NESTING

MAX_FILES: Final = 256
"""Files of one contract."""

MAX_DECLARATION_NESTING: Final = 32
"""Messages declared within messages."""

MAX_MESSAGES: Final = 2000
"""Messages of one contract, with the entries of maps."""

MAX_FIELDS: Final = 20_000
"""Fields and extensions of all its messages."""

MAX_ENUM_VALUES: Final = 20_000
"""Values of all its enums."""

MAX_REFERENCES: Final = MAX_NESTING
"""Length of the shortest chain of fields from a root to each message; no document can reach one that is deeper."""


def check_size(files: FileDescriptorSet) -> None:
    """Counts the declarations of files.

    Raises:
        InvalidContract: A limit is exceeded; names the first declaration beyond it.
    """
    if len(files.file) > MAX_FILES:
        raise InvalidContract(f"{len(files.file)} files; send only what the messages refer to, at most {MAX_FILES}")
    messages = fields = values = 0
    for file in files.file:
        fields = _within(fields + len(file.extension), MAX_FIELDS, "fields", file.name)
        for enum in file.enum_type:
            values = _enum(values, enum, file.name)
        for name, message in declared_messages(file):
            messages = _within(messages + 1, MAX_MESSAGES, "messages", name)
            fields = _within(fields + len(message.field) + len(message.extension), MAX_FIELDS, "fields", name)
            for enum in message.enum_type:
                values = _enum(values, enum, name)


def declared_messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """Full name and declaration of each message of a file, those within others included.

    Raises:
        InvalidContract: They are declared too deep within each other.
    """
    return _messages(file.message_type, f"{file.package}." if file.package else "", 1)


def check_depth(roots: Iterable[Descriptor]) -> None:
    """Follows the fields of the request and the response, level by level.

    Raises:
        InvalidContract: A message is too deep; names the field that contains it.
    """
    level = list(roots)
    seen = {message.full_name for message in level}
    depth = 1
    while level:
        inner: list[Descriptor] = []
        for message in level:
            for field in message.fields:
                value_type = field.message_type
                if value_type is None or value_type.full_name in seen:
                    continue
                if depth >= MAX_REFERENCES:
                    raise InvalidContract(
                        f"field {field.full_name} is in a chain of more than {MAX_REFERENCES} messages that contain each "
                        "other: no document can be nested so deep, so leave the field out or flatten the messages"
                    )
                seen.add(value_type.full_name)
                inner.append(value_type)
        level, depth = inner, depth + 1


def _messages(declared: Iterable[DescriptorProto], scope: str, depth: int) -> Iterator[tuple[str, DescriptorProto]]:
    for message in declared:
        if depth > MAX_DECLARATION_NESTING:
            raise InvalidContract(
                f"messages are declared more than {MAX_DECLARATION_NESTING} deep within each other: {scope}{message.name}"
            )
        # Formatting also accepts bytes, which protobuf returns for a name that is not UTF-8; the pool refuses such a file.
        yield f"{scope}{message.name}", message
        yield from _messages(message.nested_type, f"{scope}{message.name}.", depth + 1)


def _enum(values: int, enum: EnumDescriptorProto, scope: str) -> int:
    return _within(values + len(enum.value), MAX_ENUM_VALUES, "enum values", f"{enum.name} of {scope}")


def _within(count: int, most: int, what: str, name: str) -> int:
    if count > most:
        raise InvalidContract(f"more than {most} {what} in all, the first too many in {name[:200]!r}: split the model")
    return count
