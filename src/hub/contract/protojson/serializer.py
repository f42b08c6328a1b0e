"""Messages to JSON, compiled once for each descriptor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import json_fields
from hub.contract.descriptors.well_known import ANY, WELL_KNOWN
from hub.contract.protojson.encoding import PIECE
from hub.contract.protojson.errors import ParseError
from hub.contract.protojson.floats import shortest_float32s
from hub.contract.protojson.json_text import JsonValue
from hub.contract.protojson.scalars import Writer, scalar_writer, write_key
from hub.contract.protojson.well_known_serializer import well_known_writer

_Fields: TypeAlias = dict[FieldDescriptor, tuple[str, Writer | None]]

MessageWriter: TypeAlias = Callable[[Message], JsonValue]
"""Gives the JSON value of a message. Raises `ParseError` for what has none."""


@final
class MessageSerializers:
    """The message writers of one closure.

    Args:
        types: What an `Any` may hold, by full name.
        including_defaults: Whether fields that cannot tell "unset" from their default are written when they have it:
            numbers, strings and enums of proto3 without `optional`, lists, and maps.
    """

    def __init__(self, types: Mapping[str, Descriptor], *, including_defaults: bool) -> None:
        self.types: Final = types
        self._including_defaults = including_defaults
        self._writers: Final[dict[str, MessageWriter]] = {}
        self._waiting: Final[list[tuple[Descriptor, _Fields, dict[str, JsonValue]]]] = []
        self._compiling = False

    def of(self, message: Descriptor) -> MessageWriter:
        """Compiles the writers of `message` and of all that it may contain; for threads, see `MessageReaders.of`."""
        writer = self._writers.get(message.full_name)
        if writer is not None:
            return writer
        if message.full_name in WELL_KNOWN:
            writer = self._writers[message.full_name] = well_known_writer(message, self)
            if message.full_name == ANY:
                for held in self.types.values():
                    self.of(held)
            return writer
        fields: _Fields = {}
        defaults: dict[str, JsonValue] = {}
        writer = self._writers[message.full_name] = _message_writer(message, fields, defaults)
        self._waiting.append((message, fields, defaults))
        if not self._compiling:
            self._compile()
        return writer

    def compiled(self, message: Descriptor) -> MessageWriter:
        """The writer of a `message` that is compiled: one that an `Any` may hold, once the writer of `Any` is made."""
        return self._writers[message.full_name]

    def _compile(self) -> None:
        """Compiles what waits, in a loop: a thousand messages may contain each other in a row."""
        self._compiling = True
        try:
            while self._waiting:
                message, fields, defaults = self._waiting.pop()
                for field in json_fields(message):
                    descriptor = field.descriptor
                    fields[descriptor] = (field.json_name, self._field_writer(descriptor))
                    if self._including_defaults and not descriptor.is_extension and not descriptor.has_presence:
                        defaults[field.json_name] = _default(descriptor)
        finally:
            self._compiling = False

    def _field_writer(self, field: FieldDescriptor) -> Writer | None:
        value_type = field.message_type
        if value_type is not None and value_type.GetOptions().map_entry:
            value_field = value_type.fields_by_name["value"]
            write = self._value_writer(value_field)
            if write is None:
                return lambda entries: {write_key(key): value for key, value in entries.items()}
            return partial(_write_map, write)
        write = self._value_writer(field)
        if not field.is_repeated:
            return write
        if write is None:
            return _write_plain_list
        if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
            return _float_list_writer(write)
        return partial(_write_list, write)

    def _value_writer(self, field: FieldDescriptor) -> Writer | None:
        return scalar_writer(field) if field.message_type is None else self.of(field.message_type)


def _message_writer(
    message: Descriptor,
    fields: Mapping[FieldDescriptor, tuple[str, Writer | None]],
    defaults: Mapping[str, JsonValue],
) -> MessageWriter:
    # Taken from the class: a field may be called ListFields too.
    list_fields = GetMessageClass(message).ListFields

    def write(value: Message) -> JsonValue:
        document: dict[str, JsonValue] = dict(defaults)
        name = ""
        try:
            for field, content in list_fields(value):
                name, write_field = fields[field]
                document[name] = content if write_field is None else write_field(content)
        except ParseError as refusal:
            raise ParseError.of(refusal.under(name)) from None
        return document

    return write


def _write_plain_list(items: Any) -> JsonValue:
    plain: list[JsonValue] = items[:]
    return plain


def _write_list(write: Writer, items: Any) -> JsonValue:
    if len(items) <= PIECE:
        return [write(item) for item in items[:]]
    # A copy of all of a big list would be one call that keeps the interpreter's lock.
    return [write(item) for start in range(0, len(items), PIECE) for item in items[start : start + PIECE]]


def _write_map(write: Writer, entries: Any) -> JsonValue:
    return {write_key(key): write(value) for key, value in entries.items()}


def _float_list_writer(write: Writer) -> Writer:
    def write_list(items: Any) -> JsonValue:
        values: list[float] = items[:]
        # The sum of finite single precision numbers is finite in double precision.
        total = sum(values)
        if total - total == 0:
            return cast("JsonValue", shortest_float32s(values))  # a list of numbers is a JSON value
        return [write(item) for item in values]

    return write_list


def _default(field: FieldDescriptor) -> JsonValue:
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return {} if is_map else []
    write = scalar_writer(field)
    default: Any = field.default_value
    value: JsonValue = default if write is None else write(default)
    return value
