"""JSON to messages, compiled once for each descriptor.

A message reader fills a message from a parsed JSON value. All readers of a message's fields are closures that were
chosen when it was compiled; reading a document looks nothing up in descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.conflicts import conflict_check
from hub.contract.fields import JsonField, json_fields
from hub.contract.jsontext import JsonValue
from hub.contract.refusal import MAX_NESTING, MAX_PROBLEMS, Place, Refusal
from hub.contract.repeated import list_reader
from hub.contract.scalars import Reader, key_reader, kind_of, plain_type, scalar_reader
from hub.contract.well_known import WELL_KNOWN
from hub.contract.well_known_reading import well_known_reader

MessageReader: TypeAlias = Callable[[Message, JsonValue, int], int]
"""Fills an empty message from a JSON value.

Takes the message, the value, and the level of the message (the outermost is 1). Returns how many members the objects
of the value have in all. Raises `Refusal` with everything that is bad.
"""

FieldReader: TypeAlias = Callable[[Message, JsonValue, int], int]
"""The same for one field of a message, which is not null."""

_EntryReader: TypeAlias = Callable[[Any, Any, JsonValue, int], int]
"""Puts one entry into a map of a message. Takes the map, the key, the value as JSON, and the level of the value."""


@final
class MessageReaders:
    """The message readers of one closure.

    Args:
        types: What an `Any` may hold, by full name.
    """

    def __init__(self, types: Mapping[str, Descriptor]) -> None:
        self.types: Final = types
        self._readers: Final[dict[str, MessageReader]] = {}

    def of(self, message: Descriptor) -> MessageReader:
        """The reader of `message`; compiled at the first call."""
        reader = self._readers.get(message.full_name)
        if reader is not None:
            return reader
        if message.full_name in WELL_KNOWN:
            reader = self._readers[message.full_name] = well_known_reader(message, self)
            return reader
        fields: dict[str, FieldReader] = {}
        reader = self._readers[message.full_name] = _message_reader(message, fields)
        for field in json_fields(message):
            read = self._field_reader(field)
            for name in field.names:
                fields[name] = read
        return reader

    def _field_reader(self, field: JsonField) -> FieldReader:
        descriptor = field.descriptor
        value_type = descriptor.message_type
        if value_type is not None and value_type.GetOptions().map_entry:
            return self._map_reader(field, value_type)
        if value_type is not None:
            fill = self.of(value_type)
            return _messages(field, fill) if descriptor.is_repeated else _message(field, value_type, fill)
        if descriptor.is_repeated:
            return _scalars(field, list_reader(descriptor))
        read_value = scalar_reader(descriptor)
        # The one scalar to which null is a value: google.protobuf.NullValue.
        return _scalar(field, partial(_or_zero, read_value) if field.takes_null else read_value)

    def _map_reader(self, field: JsonField, entry: Descriptor) -> FieldReader:
        read_key = key_reader(entry.fields_by_name["key"])
        value_field = entry.fields_by_name["value"]
        value_type = value_field.message_type
        read_entry = _scalar_entry(value_field) if value_type is None else _message_entry(self.of(value_type))
        get = field.get

        def read(message: Message, document: JsonValue, level: int) -> int:
            if type(document) is not dict:
                raise Refusal(f"expected an object with the entries of the map, not {kind_of(document)}")
            target = get(message)
            names = len(document)
            found: list[tuple[Place, str]] = []
            for key, value in document.items():
                try:
                    names += read_entry(target, key if read_key is None else read_key(key), value, level + 2)
                except Refusal as refusal:
                    found += refusal.under(key)
                    if len(found) >= MAX_PROBLEMS:
                        break
            if found:
                raise Refusal.of(found)
            return names

        return read


def _message_reader(message: Descriptor, fields: Mapping[str, FieldReader]) -> MessageReader:
    full_name = message.full_name
    described = json_fields(message)
    takes_null = frozenset(name for field in described if field.takes_null for name in field.names)
    conflicts = conflict_check(message)
    find = fields.get
    expected = ", ".join(repr(field.json_name) for field in described[:20]) or "none"

    def read(target: Message, document: JsonValue, level: int) -> int:
        if type(document) is not dict:
            raise Refusal(f"expected an object ({full_name}), not {kind_of(document)}")
        if level > MAX_NESTING:
            raise Refusal(f"messages are nested more than {MAX_NESTING} deep")
        names = len(document)
        found: list[tuple[Place, str]] = [] if conflicts is None else [*conflicts(document)]
        for name, value in document.items():
            read_field = find(name)
            if read_field is None:
                found.append(((name,), f"{full_name} has no such field; it has {expected}"))
            elif value is not None or name in takes_null:
                try:
                    names += read_field(target, value, level)
                except Refusal as refusal:
                    found += refusal.under(name)
            if len(found) >= MAX_PROBLEMS:
                break
        if found:
            raise Refusal.of(found)
        return names

    return read


def _or_zero(read_value: Reader, value: JsonValue) -> int:
    return 0 if value is None else int(read_value(value))


def _message_entry(fill: MessageReader) -> _EntryReader:
    def read(target: Any, key: Any, value: JsonValue, level: int) -> int:
        return fill(target[key], value, level)

    return read


def _scalar_entry(value_field: FieldDescriptor) -> _EntryReader:
    read_value = scalar_reader(value_field)

    def read(target: Any, key: Any, value: JsonValue, _level: int) -> int:
        target[key] = read_value(value)
        return 0

    return read


def _message(field: JsonField, value_type: Descriptor, fill: MessageReader) -> FieldReader:
    get = field.get
    # Taken from the class: a field may be called SetInParent too.
    set_in_parent = GetMessageClass(value_type).SetInParent

    def read(message: Message, value: JsonValue, level: int) -> int:
        child = get(message)
        set_in_parent(child)
        return fill(child, value, level + 1)

    return read


def _messages(field: JsonField, fill: MessageReader) -> FieldReader:
    get = field.get

    def read(message: Message, items: JsonValue, level: int) -> int:
        if type(items) is not list:
            raise Refusal(f"expected an array, not {kind_of(items)}")
        add = get(message).add
        names = 0
        found: list[tuple[Place, str]] = []
        for index, item in enumerate(items):
            try:
                names += fill(add(), item, level + 1)
            except Refusal as refusal:
                found += refusal.under(index)
                if len(found) >= MAX_PROBLEMS:
                    break
        if found:
            raise Refusal.of(found)
        return names

    return read


def _scalars(field: JsonField, read_list: Callable[[JsonValue], list[Any]]) -> FieldReader:
    get = field.get

    def read(message: Message, items: JsonValue, _level: int) -> int:
        get(message).extend(read_list(items))
        return 0

    return read


def _scalar(field: JsonField, read_value: Reader) -> FieldReader:
    descriptor: FieldDescriptor = field.descriptor
    if descriptor.is_extension:
        handle = cast("Any", descriptor)  # the stubs want the extension's own handle, which its descriptor serves as

        def read_extension(message: Message, value: JsonValue, _level: int) -> int:
            message.Extensions[handle] = read_value(value)
            return 0

        return read_extension
    name = descriptor.name
    as_it_is = plain_type(descriptor)

    def read(message: Message, value: JsonValue, _level: int) -> int:
        if type(value) is as_it_is:
            try:
                setattr(message, name, value)
            except ValueError:
                read_value(value)
                raise
        else:
            setattr(message, name, read_value(value))
        return 0

    return read
