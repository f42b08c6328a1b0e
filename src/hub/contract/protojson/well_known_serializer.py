"""Serializers of the well-known types, which have a JSON form of their own.

Messages are `Any` here, because their classes are dynamic; their fields were checked when the pool was built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors import well_known
from hub.contract.descriptors.well_known import TIMESTAMP_SECONDS
from hub.contract.protojson.conversion import ConversionError, JsonValue
from hub.contract.protojson.scalar_serializer import Serializer, scalar_serializer

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: the text gets its Z below
_LONGEST: Final = 315_576_000_000
_NANOS: Final = 1_000_000_000


def well_known_serializer(
    message: Descriptor, types: Mapping[str, Descriptor], serializer_of: Callable[[Descriptor], Serializer]
) -> Serializer:
    """The serializer of a message of `well_known.WELL_KNOWN`.

    Args:
        message: Its descriptor.
        types: The messages that an `Any` may contain, by full name.
        serializer_of: Returns the serializer of one of these; called while messages are serialized.
    """
    name = message.full_name
    if name in well_known.WRAPPERS:
        return _wrapper_serializer(message)
    if name == well_known.ANY:
        return _any_serializer(types, serializer_of)
    return _SERIALIZERS[name]


def _wrapper_serializer(message: Descriptor) -> Serializer:
    serialize = scalar_serializer(message.fields_by_name["value"])
    if serialize is None:
        return lambda wrapper: cast("JsonValue", wrapper.value)  # a bool, a string or a small integer
    return lambda wrapper: serialize(wrapper.value)


def _any_serializer(types: Mapping[str, Descriptor], serializer_of: Callable[[Descriptor], Serializer]) -> Serializer:
    def serialize(holder: Any) -> JsonValue:
        url: str = holder.type_url
        if not url and not holder.value:
            return {}
        _, slash, name = url.rpartition("/")
        content_type = types.get(name) if slash else None
        if content_type is None:
            raise ConversionError(f"the Any holds a {url!r}, which is no message of the contract", ("@type",))
        content = GetMessageClass(content_type)()
        try:
            type(content).ParseFromString(content, holder.value)
        except DecodeError as error:
            raise ConversionError(f"the Any holds bytes that are no {name}") from error
        document = serializer_of(content_type)(content)
        if name in well_known.WELL_KNOWN:
            return {"@type": url, "value": document}
        # A message without a form of its own is always an object.
        return {"@type": url, **cast("dict[str, JsonValue]", document)}

    return serialize


def _serialize_timestamp(timestamp: Any) -> JsonValue:
    seconds: int = timestamp.seconds
    nanos: int = timestamp.nanos
    if not (seconds in TIMESTAMP_SECONDS and 0 <= nanos < _NANOS):
        raise ConversionError(f"{seconds} s and {nanos} ns is no time from the year 1 to the year 9999")
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}{_fraction(nanos)}Z"


def _serialize_duration(duration: Any) -> JsonValue:
    seconds: int = duration.seconds
    nanos: int = duration.nanos
    if not (-_LONGEST <= seconds <= _LONGEST and -_NANOS < nanos < _NANOS) or seconds * nanos < 0:
        raise ConversionError(f"{seconds} s and {nanos} ns is no duration within {_LONGEST} s, or its signs differ")
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    digits = f"{nanos:09}"
    for end in (3, 6):
        if not digits[end:].strip("0"):
            return f".{digits[:end]}"
    return f".{digits}"


def _serialize_field_mask(mask: Any) -> JsonValue:
    return ",".join(_camel_case(path) for path in mask.paths)


def _camel_case(path: str) -> str:
    letters: list[str] = []
    raised = False
    for letter in path:
        if letter.isupper() or (raised and not letter.islower()):
            raise ConversionError(f"the path {path!r} is not in lower_snake_case")
        if letter == "_":
            raised = True
        else:
            letters.append(letter.upper() if raised else letter)
            raised = False
    if raised:
        raise ConversionError(f"the path {path!r} ends in an underscore")
    return "".join(letters)


def _serialize_struct(struct: Any) -> JsonValue:
    fields = struct.fields
    return {name: _serialize_value(fields[name]) for name in fields}


def _serialize_list(items: Any) -> JsonValue:
    return [_serialize_value(value) for value in items.values]


def _serialize_value(value: Any) -> JsonValue:
    match value.WhichOneof("kind"):
        case "number_value":
            number: float = value.number_value
            if number - number != 0:
                raise ConversionError("a Value cannot be NaN or infinite")
            return number
        case "string_value":
            return str(value.string_value)
        case "bool_value":
            return bool(value.bool_value)
        case "struct_value":
            return _serialize_struct(value.struct_value)
        case "list_value":
            return _serialize_list(value.list_value)
        case _:
            return None


_SERIALIZERS: Final[dict[str, Serializer]] = {
    well_known.TIMESTAMP: _serialize_timestamp,
    well_known.DURATION: _serialize_duration,
    well_known.FIELD_MASK: _serialize_field_mask,
    well_known.STRUCT: _serialize_struct,
    well_known.LIST_VALUE: _serialize_list,
    well_known.VALUE: _serialize_value,
}
