"""JSON to the messages that have a JSON form of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract import patterns, well_known
from hub.contract.jsontext import JsonValue
from hub.contract.refusal import MAX_NESTING, MAX_PROBLEMS, Place, Refusal
from hub.contract.scalars import DOUBLE_MAX, kind_of, scalar_reader

if TYPE_CHECKING:
    from hub.contract.reading import MessageReader, MessageReaders

_EPOCH: Final = date(1970, 1, 1).toordinal()
_timestamp: Final = re.compile(patterns.TIMESTAMP).fullmatch
_duration: Final = re.compile(patterns.DURATION).fullmatch
_field_mask: Final = re.compile(patterns.FIELD_MASK).fullmatch


def well_known_reader(message: Descriptor, readers: MessageReaders) -> MessageReader:
    """The reader of a message of `well_known.WELL_KNOWN`."""
    name = message.full_name
    if name in well_known.WRAPPERS:
        return _wrapper_reader(message)
    if name == well_known.ANY:
        return _any_reader(readers)
    return _READERS[name]


def _wrapper_reader(message: Descriptor) -> MessageReader:
    read_value = scalar_reader(message.fields_by_name["value"])

    def read(target: Message, value: JsonValue, _level: int) -> int:
        cast("Any", target).value = read_value(value)  # every wrapper has this one field
        return 0

    return read


def _any_reader(readers: MessageReaders) -> MessageReader:
    def read(target: Message, document: JsonValue, level: int) -> int:
        if type(document) is not dict:
            raise Refusal(f'expected an object with "@type", not {kind_of(document)}')
        if not document:
            return 0
        url = document.get("@type")
        if type(url) is not str:
            raise Refusal('"@type" is missing: it says what the Any holds, such as "type.googleapis.com/a.Message"')
        prefix, slash, name = url.rpartition("/")
        message = readers.types.get(name) if slash else None
        if message is None:
            raise Refusal(
                f"{url!r} names no message of the contract: expected an URL that ends in /full.Name", ("@type",)
            )
        content = GetMessageClass(message)()
        rest = {member: value for member, value in document.items() if member != "@type"}
        if name in well_known.WELL_KNOWN:
            names = _read_value_member(rest, readers.of(message), content, level)
        else:
            names = readers.of(message)(content, rest, level + 1)
        holder = cast("Any", target)  # its fields were checked when the pool was built
        holder.type_url = f"{prefix}/{name}"
        holder.value = type(content).SerializeToString(content, deterministic=True)
        return 1 + names

    return read


def _read_value_member(rest: dict[str, JsonValue], read: MessageReader, content: Message, level: int) -> int:
    found: list[tuple[Place, str]] = [
        ((member,), 'unknown here: a well-known type stands in "value"') for member in rest if member != "value"
    ]
    names = len(rest)
    if "value" not in rest:
        found.append(((), 'the member "value" is missing'))
    else:
        try:
            names += read(content, rest["value"], level + 1)
        except Refusal as refusal:
            found += refusal.under("value")
    if found:
        raise Refusal.of(found)
    return names


def _read_timestamp(target: Message, value: JsonValue, _level: int) -> int:
    if type(value) is not str or not _timestamp(value):
        raise Refusal(f'expected a time such as "2026-01-31T12:00:00Z" (RFC 3339), not {kind_of(value)}')
    days = date(int(value[:4]), int(value[5:7]), int(value[8:10])).toordinal() - _EPOCH
    seconds = days * 86400 + int(value[11:13]) * 3600 + int(value[14:16]) * 60 + int(value[17:19])
    rest = value[19:]
    if rest.endswith("Z"):
        fraction = rest[1:-1]
    else:
        fraction = rest[1:-6]
        offset = int(rest[-5:-3]) * 3600 + int(rest[-2:]) * 60
        seconds -= offset if rest[-6] == "+" else -offset
    timestamp = cast("Any", target)
    timestamp.seconds = seconds
    timestamp.nanos = int(fraction.ljust(9, "0")) if fraction else 0
    return 0


def _read_duration(target: Message, value: JsonValue, _level: int) -> int:
    if type(value) is not str or not _duration(value):
        raise Refusal(f'expected seconds such as "1.5s", not {kind_of(value)}')
    seconds, _, fraction = value[:-1].partition(".")
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    duration = cast("Any", target)
    duration.seconds = int(seconds)
    duration.nanos = -nanos if value.startswith("-") else nanos
    return 0


def _read_field_mask(target: Message, value: JsonValue, _level: int) -> int:
    if type(value) is not str or not _field_mask(value):
        raise Refusal(f'expected paths in lowerCamelCase such as "user.displayName,photo", not {kind_of(value)}')
    if value:
        paths = ("".join(f"_{each.lower()}" if each.isupper() else each for each in path) for path in value.split(","))
        cast("Any", target).paths.extend(paths)
    return 0


def _read_struct(target: Message, value: JsonValue, level: int) -> int:
    if type(value) is not dict:
        raise Refusal(f"expected an object, not {kind_of(value)}")
    fields = cast("Any", target).fields
    names = len(value)
    found: list[tuple[Place, str]] = []
    for name, member in value.items():
        try:
            names += _read_value(fields[name], member, level + 2)
        except Refusal as refusal:
            found += refusal.under(name)
            if len(found) >= MAX_PROBLEMS:
                break
    if found:
        raise Refusal.of(found)
    return names


def _read_list(target: Message, value: JsonValue, level: int) -> int:
    if type(value) is not list:
        raise Refusal(f"expected an array, not {kind_of(value)}")
    add = cast("Any", target).values.add
    names = 0
    found: list[tuple[Place, str]] = []
    for index, item in enumerate(value):
        try:
            names += _read_value(add(), item, level + 1)
        except Refusal as refusal:
            found += refusal.under(index)
            if len(found) >= MAX_PROBLEMS:
                break
    if found:
        raise Refusal.of(found)
    return names


def _read_value(target: Message, value: JsonValue, level: int) -> int:
    if level > MAX_NESTING:
        raise Refusal(f"messages are nested more than {MAX_NESTING} deep")
    holder = cast("Any", target)
    match value:
        case None:
            holder.null_value = 0
        case bool():
            holder.bool_value = value
        case str():
            holder.string_value = value
        case int() | float():
            if not -DOUBLE_MAX <= value <= DOUBLE_MAX:
                raise Refusal(f"expected a number from {-DOUBLE_MAX} to {DOUBLE_MAX}")
            holder.number_value = float(value)
        case dict():
            holder.struct_value.SetInParent()
            return _read_struct(holder.struct_value, value, level + 1)
        case list():
            holder.list_value.SetInParent()
            return _read_list(holder.list_value, value, level + 1)
    return 0


_READERS: Final[dict[str, Callable[[Message, JsonValue, int], int]]] = {
    well_known.TIMESTAMP: _read_timestamp,
    well_known.DURATION: _read_duration,
    well_known.FIELD_MASK: _read_field_mask,
    well_known.STRUCT: _read_struct,
    well_known.LIST_VALUE: _read_list,
    well_known.VALUE: _read_value,
}
