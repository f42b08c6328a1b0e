"""Messages to JSON, compiled once for each descriptor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import JsonField, json_fields
from hub.contract.descriptors.well_known import ANY, WELL_KNOWN
from hub.contract.protojson.conversion import ConversionError, JsonValue
from hub.contract.protojson.encoding import CHUNK
from hub.contract.protojson.generated.narrow_serializer import AddField, in_chunks, is_narrow, narrow_serializer
from hub.contract.protojson.scalar_serializer import Serializer, key_text, scalar_serializer, shortest_float32s
from hub.contract.protojson.well_known_serializer import well_known_serializer


@final
class MessageSerializers:
    """The message serializers of one closure.

    Args:
        types: The messages that an `Any` may contain, by full name.
        including_defaults: Whether fields that cannot tell "unset" from their default are written when they have it:
            numbers, strings and enums of proto3 without `optional`, lists, and maps.
    """

    def __init__(self, types: Mapping[str, Descriptor], *, including_defaults: bool) -> None:
        self._types = types
        self._including_defaults = including_defaults
        self._serializers: Final[dict[str, Serializer]] = {}
        self._waiting: Final[list[tuple[Descriptor, AddField]]] = []
        self._compiling = False

    def compile(self, message: Descriptor) -> Serializer:
        """Returns the serializer of `message`, with those of all messages that it or an `Any` in it may contain.

        Not thread-safe. The serializer itself may be used by any number of threads.
        """
        serializer = self._serializers.get(message.full_name)
        if serializer is not None:
            return serializer
        if message.full_name in WELL_KNOWN:
            serializer = self._serializers[message.full_name] = well_known_serializer(
                message, self._types, self._compiled
            )
            if message.full_name == ANY:
                for content in self._types.values():
                    self.compile(content)
            return serializer
        if is_narrow(message):
            serializer, add = narrow_serializer(message, including_defaults=self._including_defaults)
        else:
            serializer, add = _wide_serializer(message, including_defaults=self._including_defaults)
        # Fields are compiled in a loop, without recursion: a message may contain itself, and nest a thousand deep.
        self._serializers[message.full_name] = serializer
        self._waiting.append((message, add))
        if not self._compiling:
            self._compile_fields()
        return serializer

    def _compiled(self, message: Descriptor) -> Serializer:
        """The serializer of a message that is compiled already, as all are that an `Any` may contain."""
        return self._serializers[message.full_name]

    def _compile_fields(self) -> None:
        self._compiling = True
        try:
            while self._waiting:
                message, add = self._waiting.pop()
                for field in json_fields(message):
                    add(field, *self._field_serializers(field.descriptor))
        finally:
            self._compiling = False

    def _field_serializers(self, field: FieldDescriptor) -> tuple[Serializer | None, Serializer | None]:
        """The serializer of one value of a field, and that of all its values."""
        value_type = field.message_type
        if value_type is not None and value_type.GetOptions().map_entry:
            serialize = self._value_serializer(value_type.fields_by_name["value"])
            if serialize is None:
                return None, lambda entries: {key_text(key): value for key, value in entries.items()}
            return serialize, partial(_serialize_map, serialize)
        serialize = self._value_serializer(field)
        if not field.is_repeated:
            return serialize, serialize
        if serialize is None:
            return None, _serialize_plain_list
        if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
            return serialize, _float_list_serializer(serialize)
        return serialize, partial(_serialize_list, serialize)

    def _value_serializer(self, field: FieldDescriptor) -> Serializer | None:
        return scalar_serializer(field) if field.message_type is None else self.compile(field.message_type)


def _wide_serializer(message: Descriptor, *, including_defaults: bool) -> tuple[Serializer, AddField]:
    """The serializer of a message, and what adds its fields to it."""
    # Taken from the class: a field may be called ListFields too.
    list_fields = GetMessageClass(message).ListFields
    fields: dict[FieldDescriptor, tuple[str, Serializer | None]] = {}
    defaults: dict[str, JsonValue] = {}

    def add(field: JsonField, _serialize_value: Serializer | None, serialize: Serializer | None) -> None:
        descriptor = field.descriptor
        fields[descriptor] = (field.json_name, serialize)
        if including_defaults and not descriptor.is_extension and not descriptor.has_presence:
            defaults[field.json_name] = _default(descriptor)

    def serialize(value: Message) -> JsonValue:
        document: dict[str, JsonValue] = dict(defaults)
        name = ""
        try:
            for field, content in list_fields(value):
                name, serialize_field = fields[field]
                document[name] = content if serialize_field is None else serialize_field(content)
        except ConversionError as error:
            raise ConversionError.of(error.prefixed(name)) from None
        return document

    return serialize, add


def _serialize_plain_list(items: Any) -> JsonValue:
    plain: list[JsonValue] = items[:]
    return plain


def _serialize_list(serialize: Serializer, items: Any) -> JsonValue:
    return list(map(serialize, items[:] if len(items) <= CHUNK else in_chunks(items)))


def _serialize_map(serialize: Serializer, entries: Any) -> JsonValue:
    return {key_text(key): serialize(value) for key, value in entries.items()}


def _float_list_serializer(serialize: Serializer) -> Serializer:
    def serialize_list(items: Any) -> JsonValue:
        values: list[float] = items[:]
        # The sum of finite single precision numbers is finite in double precision.
        total = sum(values)
        if total - total == 0:
            return cast("JsonValue", shortest_float32s(values))  # a list of numbers is a JSON value
        return [serialize(item) for item in values]

    return serialize_list


def _default(field: FieldDescriptor) -> JsonValue:
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return {} if is_map else []
    serialize = scalar_serializer(field)
    default: Any = field.default_value
    value: JsonValue = default if serialize is None else serialize(default)
    return value
