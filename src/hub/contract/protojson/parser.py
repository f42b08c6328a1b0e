"""JSON to messages, compiled once for each descriptor.

The reader of a message turns an object into the arguments of the message's constructor, which then builds the message
and all within it in one step. What a reader does with each member was decided when it was compiled; reading a document
looks nothing up in descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias, final

from google.protobuf.descriptor import Descriptor

from hub.contract.descriptors.fields import JsonField, json_fields
from hub.contract.descriptors.well_known import ANY, WELL_KNOWN
from hub.contract.errors import MAX_NESTING
from hub.contract.protojson.conflicts import conflict_check
from hub.contract.protojson.errors import MAX_PROBLEMS, TOO_DEEP, JsonPath, ParseError
from hub.contract.protojson.extensions import extended_reader
from hub.contract.protojson.json_text import JsonValue
from hub.contract.protojson.repeated import list_reader, map_reader, message_list_reader
from hub.contract.protojson.scalars import Reader, kind_of, plain_type, scalar_reader
from hub.contract.protojson.value_parser import ParseStats, ValueReader
from hub.contract.protojson.well_known_parser import well_known_reader

FieldEntry: TypeAlias = tuple[str, type | None, Reader | None, ValueReader | None]
"""What a message reader knows of a name: the name of the field, the type of values that it takes as they are, and the
reader of all others: one of single values, or one of values that may contain messages."""


@final
class MessageParsers:
    """The message readers of one closure.

    Args:
        types: What an `Any` may hold, by full name.
        trusting: Whether integers are left to the constructor of the message. It refuses those out of range with a
            `ValueError` that does not say where; readers that are not trusting tell.
    """

    def __init__(self, types: Mapping[str, Descriptor], *, trusting: bool) -> None:
        self.types: Final = types
        self._trusting = trusting
        self._readers: Final[dict[str, ValueReader]] = {}
        self._waiting: Final[list[tuple[Descriptor, dict[str, FieldEntry]]]] = []
        self._compiling = False

    def of(self, message: Descriptor) -> ValueReader:
        """Compiles the readers of `message` and of all that it may contain, and an `Any` in it too.

        Not for several threads at once. What it returns may be used by any number of them: it compiles nothing more.
        """
        reader = self._readers.get(message.full_name)
        if reader is not None:
            return reader
        if message.full_name in WELL_KNOWN:
            reader = self._readers[message.full_name] = well_known_reader(message, self)
            if message.full_name == ANY:
                for held in self.types.values():
                    self.of(held)
            return reader
        entries: dict[str, FieldEntry] = {}
        reader = _message_reader(message, entries)
        if message.is_extendable:
            reader = extended_reader(message, reader)
        # Its fields wait their turn: a message may contain itself, and a thousand messages each other in a row.
        self._readers[message.full_name] = reader
        self._waiting.append((message, entries))
        if not self._compiling:
            self._compile()
        return reader

    def compiled(self, message: Descriptor) -> ValueReader:
        """The reader of a `message` that is compiled: one that an `Any` may hold, once the reader of `Any` is made."""
        return self._readers[message.full_name]

    def _compile(self) -> None:
        self._compiling = True
        try:
            while self._waiting:
                message, entries = self._waiting.pop()
                for field in json_fields(message):
                    entry = self._entry(field)
                    for name in field.names:
                        entries[name] = entry
        finally:
            self._compiling = False

    def _entry(self, field: JsonField) -> FieldEntry:
        descriptor = field.descriptor
        name = field.json_name if descriptor.is_extension else descriptor.name
        value_type = descriptor.message_type
        if value_type is None:
            if descriptor.is_repeated:
                return name, None, list_reader(descriptor), None
            read_value = scalar_reader(descriptor)
            if field.takes_null:
                # The one scalar to which null is a value: google.protobuf.NullValue.
                return name, None, partial(_or_zero, read_value), None
            as_it_is = plain_type(descriptor)
            return name, as_it_is if self._trusting or as_it_is is not int else None, read_value, None
        if value_type.GetOptions().map_entry:
            value_field = value_type.fields_by_name["value"]
            read_message = None if value_field.message_type is None else self.of(value_field.message_type)
            return name, None, None, map_reader(value_type, read_message)
        read = self.of(value_type)
        return name, None, None, message_list_reader(read) if descriptor.is_repeated else partial(_deeper, read)


def _message_reader(  # noqa: C901 - the loop over members is the hot path, and calls would be most of its cost
    message: Descriptor, entries: Mapping[str, FieldEntry]
) -> ValueReader:
    conflicts = conflict_check(message)
    takes_null = frozenset(name for field in json_fields(message) if field.takes_null for name in field.names)
    expected = f"expected an object ({message.full_name}), not "
    unknown = _unknown(message)
    find = entries.get

    def read(document: JsonValue, level: int, tally: ParseStats) -> dict[str, Any]:  # noqa: C901
        if type(document) is not dict:
            raise ParseError(expected + kind_of(document))
        if level > MAX_NESTING:
            raise ParseError(TOO_DEEP)
        tally.names += len(document)
        found: list[tuple[JsonPath, str]] = []
        if conflicts is not None:
            found += conflicts(document)
        arguments: dict[str, Any] = {}
        for name, value in document.items():
            entry = find(name)
            if entry is None:
                found.append(((name,), unknown))
            elif type(value) is entry[1]:
                arguments[entry[0]] = value
            elif value is not None or name in takes_null:
                try:
                    _read_member(entry, arguments, value, level, tally)
                except ParseError as refusal:
                    found += refusal.under(name)
            if len(found) >= MAX_PROBLEMS:
                break
        if found:
            raise ParseError.of(found)
        return arguments

    return read


def _unknown(message: Descriptor) -> str:
    names = [repr(field.json_name) for field in json_fields(message)]
    known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{message.full_name} has no such field; it has {known or 'none'}"


def _read_member(entry: FieldEntry, arguments: dict[str, Any], value: JsonValue, level: int, tally: ParseStats) -> None:
    field, _, read_value, read_messages = entry
    if read_messages is not None:
        arguments[field] = read_messages(value, level, tally)
    elif read_value is not None:
        arguments[field] = read_value(value)


def _deeper(read: ValueReader, value: JsonValue, level: int, tally: ParseStats) -> Any:
    return read(value, level + 1, tally)


def _or_zero(read_value: Reader, value: JsonValue) -> int:
    return 0 if value is None else int(read_value(value))
