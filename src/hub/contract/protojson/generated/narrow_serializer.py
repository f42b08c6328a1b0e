"""Serializers of messages with few fields, as functions made of one statement for each field.

A loop over fields that asks which are set costs about three times as much for each of them. Functions are made as those
of `dataclasses` are: source text is compiled, in which names of a contract stand only as attributes and string literals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from itertools import chain
from keyword import iskeyword
from math import copysign
from typing import Any, Final, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import JsonField, json_fields
from hub.contract.protojson.conversion import ConversionError
from hub.contract.protojson.encoding import CHUNK
from hub.contract.protojson.scalar_serializer import Serializer, scalar_serializer

MAX_FIELDS: Final = 16
"""Fields of a message. Each is read, whether it is set or not; of more fields, fewer are usually set."""

MAX_WITH_PRESENCE: Final = 4
"""Fields for which the message is asked whether they are set, which takes twice as long as reading them."""

_FRACTIONS: Final = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}

AddField: TypeAlias = Callable[[JsonField, Serializer | None, Serializer | None], None]
"""Adds a field to the serializer of its message: that of one value, and that of the field, which may have several.

`None` if the values are their own JSON values.
"""


def is_narrow(message: Descriptor) -> bool:
    """Whether `narrow_serializer` serves this message."""
    fields = message.fields
    return (
        len(fields) <= MAX_FIELDS
        and sum(field.has_presence for field in fields) <= MAX_WITH_PRESENCE
        and not message.is_extendable
        and all(field.name.isascii() and field.name.isidentifier() and not iskeyword(field.name) for field in fields)
    )


def narrow_serializer(message: Descriptor, *, including_defaults: bool) -> tuple[Serializer, AddField]:
    """The serializer of a message that `is_narrow`, and what adds its fields to it.

    Args:
        message: Its descriptor.
        including_defaults: Whether fields without presence are written when they have their default.
    """
    names: dict[str, object] = {
        "has": GetMessageClass(message).HasField,  # from the class: a field may be called HasField too
        "is_negative": _is_negative,
        "in_chunks": in_chunks,
        "failed": ConversionError,
    }

    def add(field: JsonField, serialize_value: Serializer | None, serialize: Serializer | None) -> None:
        inlined = _form(field.descriptor) is _Form.LIST
        names[f"serialize_{field.descriptor.number}"] = serialize_value if inlined else serialize

    lines = ["def serialize(message):", " document = {}", " name = ''", " try:", "  pass"]
    for field in json_fields(message):
        lines += _statements(field, including_defaults=including_defaults)
    lines += [" except failed as error:", "  raise failed.of(error.prefixed(name)) from None", " return document"]
    exec("\n".join(lines), names)  # noqa: S102 - identifiers and literals only, see above
    return cast("Serializer", names["serialize"]), add  # the function of the template


def _statements(json_field: JsonField, *, including_defaults: bool) -> Iterable[str]:
    field, name = json_field.descriptor, repr(json_field.json_name)
    if field.has_presence:
        yield f"  if has(message, {field.name!r}):"
        yield f"   value = message.{field.name}"
    else:
        yield f"  value = message.{field.name}"
        signed = field.cpp_type in _FRACTIONS and not field.is_repeated
        yield f"  if {'True' if including_defaults else 'value or is_negative(value)' if signed else 'value'}:"
    serialize = f"serialize_{field.number}"
    match _form(field):
        case _Form.PLAIN:
            yield f"   document[{name}] = value"
        case _Form.DOUBLE:
            yield f"   document[{name}] = value if value - value == 0 else {serialize}(value)"
        case _Form.CALL:
            yield f"   name = {name}"
            yield f"   document[{name}] = {serialize}(value)"
        case _Form.LIST:
            yield f"   name = {name}"
            yield f"   document[{name}] = items = []"
            yield f"   for item in value[:] if len(value) <= {CHUNK} else in_chunks(value):"
            yield f"    items.append({serialize}(item))"


class _Form(Enum):
    """How the value of a field is serialized."""

    PLAIN = auto()
    """As it is."""

    DOUBLE = auto()
    """As it is, if it is finite."""

    CALL = auto()
    """By a function."""

    LIST = auto()
    """By a function for each of its items."""


def _form(field: FieldDescriptor) -> _Form:
    message = field.message_type
    serialize = scalar_serializer(field) if message is None else None
    if field.is_repeated:
        is_map = message is not None and message.GetOptions().map_entry
        by_item = message is not None or (serialize is not None and field.cpp_type != FieldDescriptor.CPPTYPE_FLOAT)
        return _Form.LIST if by_item and not is_map else _Form.CALL
    if message is None and serialize is None:
        return _Form.PLAIN
    return _Form.DOUBLE if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else _Form.CALL


def in_chunks(items: Any) -> Iterator[Any]:
    """The items of a big list. A copy of all of it would be one call that keeps the interpreter's lock."""
    return chain.from_iterable(items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _is_negative(zero: float) -> bool:
    return copysign(1.0, zero) < 0
