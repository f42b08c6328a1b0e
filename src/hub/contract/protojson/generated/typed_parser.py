"""JSON text to the arguments of a message's constructor, with the types of the fields checked by the JSON parser.

This is the fast path for the documents that most clients write: names as ProtoJSON has them, no null, each value in the
form that ProtoJSON writes. The JSON parser gets a type made from the descriptor and checks all values in C; what is left
to do here is per message, and only for fields that need it. `None` stands for every other document, wrong ones included:
the parsers of `parser.py` read these again, and find the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypedDict, cast, final

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import JsonField, json_fields
from hub.contract.descriptors.well_known import WELL_KNOWN
from hub.contract.protojson import json_text
from hub.contract.protojson.conversion import ConversionError, ParseStats, ValueParser
from hub.contract.protojson.generated.typed_document import (
    Document,
    Finish,
    Form,
    Unusual,
    finisher,
    form_of,
    function_name,
    scalar_type,
)

_LONGEST_INTEGER: Final = 20
"""Characters of a 64 bit integer."""

_NO_STATS: Final = ParseStats()
"""For messages none of whose fields is given to another parser."""


class _Unsupported(Exception):
    """The message has something that no type expresses."""


_WITH_MAPS: Final = {Form.COUNTED, Form.MAP, Form.PARSED}

UNREAD: Final = (msgspec.DecodeError, ConversionError, ValueError, RecursionError)
"""What `TypedParser.read` raises for a document that the other parsers have to read."""


@final
class TypedParser:
    """The fast parser of one message.

    Args:
        message: Its descriptor.
        field_parser: Returns the parser of a field whose values are checked and converted here, not by the JSON parser.
    """

    def __init__(self, message: Descriptor, field_parser: Callable[[JsonField], ValueParser]) -> None:
        self._field_parser: Final = field_parser
        self._types: Final[dict[str, type[Any]]] = {}
        self._finishers: Final[dict[str, Finish]] = {}
        self._uses_parsers = False
        self.has_maps = False
        """Whether the message may contain a map, whose entries have no order."""
        self.read: Final = self._reader(message)
        """Reads a JSON document into a new message. Raises one of `UNREAD` if another parser has to read it."""

    def _reader(self, message: Descriptor) -> Callable[[bytes], Message]:
        message_class = cast("type[Any]", GetMessageClass(message))  # its arguments are its fields
        try:
            typed, finish = self._message(message)
            decode: Callable[[bytes], Document] = msgspec.json.Decoder(typed).decode
        except (_Unsupported, RecursionError):  # messages may contain each other in a chain of a thousand
            self.has_maps = True  # unknown
            return _read_nothing

        def read(text: bytes) -> Message:
            arguments = decode(text)
            names = finish(arguments, 1, _NO_STATS)
            # An unknown name, or one given twice, has a colon too.
            if text.count(b":") != names and json_text.has_duplicates(text, names, 0):
                raise Unusual
            made: Message = message_class(**arguments)
            return made

        def read_with_parsers(text: bytes) -> Message:
            stats = ParseStats()
            arguments = decode(text)
            names = finish(arguments, 1, stats)
            if json_text.has_duplicates(text, names + stats.names, stats.colons):
                raise Unusual
            stats.fill()
            made: Message = message_class(**arguments)
            return made

        return read_with_parsers if self._uses_parsers else read

    def _message(self, message: Descriptor) -> tuple[type[Any], Finish]:
        """The type of a message in JSON, and what makes one fit for the constructor."""
        full_name = message.full_name
        if full_name in self._types:
            return self._types[full_name], self._finishers[full_name]
        fields = [field for field in json_fields(message) if not field.descriptor.is_extension]
        names = {field.json_name for field in fields}
        self.has_maps |= bool(message.is_extendable)
        if (
            full_name in WELL_KNOWN
            or len(names) < len(fields)
            or any(_is_renamed(field) and field.descriptor.name in names for field in fields)
        ):
            raise _Unsupported
        # Both are in the tables before the fields are known, because a message may contain itself.
        make = cast(
            "Callable[..., type[Any]]", TypedDict
        )  # the checkers know only those whose fields stand in the code
        typed = self._types[full_name] = make(full_name, dict.fromkeys(names, object), total=False)
        functions: dict[str, object] = {}
        finish = self._finishers[full_name] = finisher(message, functions)
        for field in fields:
            typed.__annotations__[field.json_name] = self._field(field, functions)
        return typed, finish

    def _field(self, field: JsonField, functions: dict[str, object]) -> Any:
        """The type of the values of a field. Adds the function that finishes or converts them to `functions`."""
        descriptor, function = field.descriptor, function_name(field)
        form = form_of(descriptor)
        self.has_maps |= form in _WITH_MAPS
        message: Any = descriptor.message_type  # not None where it is read below
        match form:
            case Form.PLAIN:
                return _listed(descriptor, scalar_type(descriptor))
            case Form.INTEGER:
                functions[function] = _integers if descriptor.is_repeated else _integer
                return _listed(descriptor, int | str)
            case Form.COUNTED:
                return _named(scalar_type(message.fields_by_name["value"]))
            case Form.MESSAGE:
                typed, functions[function] = self._message(message)
                return _listed(descriptor, typed)
            case Form.MAP:
                typed, functions[function] = self._message(message.fields_by_name["value"].message_type)
                return _named(typed)
            case Form.PARSED:
                self._uses_parsers = True
                functions[function] = partial(_parse, self._field_parser(field), takes_null=field.takes_null)
                return Any


def _is_renamed(field: JsonField) -> bool:
    return bool(field.descriptor.name != field.json_name)


def _listed(field: FieldDescriptor, kind: Any) -> Any:
    return list[kind] if field.is_repeated else kind


def _named(kind: Any) -> Any:
    return dict[str, kind]


def _read_nothing(_text: bytes) -> Message:
    raise Unusual


def _integer(value: int | str, _level: int, _stats: ParseStats) -> int:
    if isinstance(value, int):
        return value
    number = int(value) if len(value) <= _LONGEST_INTEGER else 0
    if str(number) != value:
        raise Unusual
    return number


def _integers(values: list[int | str], level: int, stats: ParseStats) -> list[int]:
    return [_integer(value, level, stats) for value in values]


def _parse(parse: ValueParser, value: Any, level: int, stats: ParseStats, *, takes_null: bool) -> Any:
    if value is None and not takes_null:
        raise Unusual
    return parse(value, level, stats)
