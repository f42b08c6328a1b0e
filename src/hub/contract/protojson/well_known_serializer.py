"""The JSON of messages that have a JSON form of their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors import well_known
from hub.contract.protojson.errors import ParseError
from hub.contract.protojson.json_text import JsonValue
from hub.contract.protojson.scalars import scalar_writer

if TYPE_CHECKING:
    from hub.contract.protojson.serializer import MessageSerializers, MessageWriter

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: the text gets its Z below
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
_LONGEST: Final = 315_576_000_000
_NANOS: Final = 1_000_000_000


def well_known_writer(message: Descriptor, writers: MessageSerializers) -> MessageWriter:
    """The writer of a message of `well_known.WELL_KNOWN`."""
    name = message.full_name
    if name in well_known.WRAPPERS:
        return _wrapper_writer(message)
    if name == well_known.ANY:
        return _any_writer(writers)
    return _WRITERS[name]


def _wrapper_writer(message: Descriptor) -> MessageWriter:
    write = scalar_writer(message.fields_by_name["value"])
    if write is None:
        return lambda value: cast("JsonValue", cast("Any", value).value)  # a bool, a string or a small integer
    return lambda value: write(cast("Any", value).value)


def _any_writer(writers: MessageSerializers) -> MessageWriter:
    def write(message: Message) -> JsonValue:
        holder = cast("Any", message)  # its fields were checked when the pool was built
        url: str = holder.type_url
        if not url and not holder.value:
            return {}
        _, slash, name = url.rpartition("/")
        content_type = writers.types.get(name) if slash else None
        if content_type is None:
            raise ParseError(f"the Any holds a {url!r}, which is no message of the contract", ("@type",))
        content = GetMessageClass(content_type)()
        try:
            type(content).ParseFromString(content, holder.value)
        except DecodeError as error:
            raise ParseError(f"the Any holds bytes that are no {name}") from error
        document = writers.compiled(content_type)(content)
        if name in well_known.WELL_KNOWN:
            return {"@type": url, "value": document}
        # A message without a form of its own is always an object.
        return {"@type": url, **cast("dict[str, JsonValue]", document)}

    return write


def _write_timestamp(message: Message) -> JsonValue:
    timestamp = cast("Any", message)
    seconds: int = timestamp.seconds
    nanos: int = timestamp.nanos
    if not (_FIRST_SECOND <= seconds <= _LAST_SECOND and 0 <= nanos < _NANOS):
        raise ParseError(f"{seconds} s and {nanos} ns is no time from the year 1 to the year 9999")
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}{_fraction(nanos)}Z"


def _write_duration(message: Message) -> JsonValue:
    duration = cast("Any", message)
    seconds: int = duration.seconds
    nanos: int = duration.nanos
    if not (-_LONGEST <= seconds <= _LONGEST and -_NANOS < nanos < _NANOS) or seconds * nanos < 0:
        raise ParseError(f"{seconds} s and {nanos} ns is no duration within {_LONGEST} s, or its signs differ")
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


def _write_field_mask(message: Message) -> JsonValue:
    return ",".join(_camel_case(path) for path in cast("Any", message).paths)


def _camel_case(path: str) -> str:
    letters: list[str] = []
    raised = False
    for letter in path:
        if letter.isupper() or (raised and not letter.islower()):
            raise ParseError(f"the path {path!r} is not in lower_snake_case")
        if letter == "_":
            raised = True
        else:
            letters.append(letter.upper() if raised else letter)
            raised = False
    if raised:
        raise ParseError(f"the path {path!r} ends in an underscore")
    return "".join(letters)


def _write_struct(message: Message) -> JsonValue:
    fields = cast("Any", message).fields
    return {name: _write_value(fields[name]) for name in fields}


def _write_list(message: Message) -> JsonValue:
    return [_write_value(value) for value in cast("Any", message).values]


def _write_value(message: Message) -> JsonValue:
    value = cast("Any", message)
    match value.WhichOneof("kind"):
        case "number_value":
            number: float = value.number_value
            if number - number != 0:
                raise ParseError("a Value cannot be NaN or infinite")
            return number
        case "string_value":
            return str(value.string_value)
        case "bool_value":
            return bool(value.bool_value)
        case "struct_value":
            return _write_struct(value.struct_value)
        case "list_value":
            return _write_list(value.list_value)
        case _:
            return None


_WRITERS: Final[dict[str, Callable[[Message], JsonValue]]] = {
    well_known.TIMESTAMP: _write_timestamp,
    well_known.DURATION: _write_duration,
    well_known.FIELD_MASK: _write_field_mask,
    well_known.STRUCT: _write_struct,
    well_known.LIST_VALUE: _write_list,
    well_known.VALUE: _write_value,
}
