"""JSON to messages, compiled once for each descriptor.

The parser of a message converts an object to the arguments of the message's constructor, which then builds the message
and all within it in one step. A parser is compiled from a descriptor once; parsing a document reads no descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias, cast, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.fields import JsonField, json_fields
from hub.contract.descriptors.well_known import ANY, WELL_KNOWN
from hub.contract.errors import MAX_PROBLEMS, JsonPath
from hub.contract.protojson.conflicts import conflict_check
from hub.contract.protojson.conversion import TOO_DEEP, ConversionError, JsonValue, ParseStats, ValueParser
from hub.contract.protojson.repeated import list_parser, map_parser, message_list_parser
from hub.contract.protojson.scalar_parser import ScalarParser, kind_of, plain_type, scalar_parser
from hub.contract.protojson.well_known_parser import well_known_parser
from hub.types import MAX_NESTING

FieldEntry: TypeAlias = tuple[str, type | None, ScalarParser | None, ValueParser | None]
"""What a message parser knows about a name: the name of the field, the type of the values that need no conversion, and
the parser of all other values: of single values, or of values that may contain messages."""


@final
class MessageParsers:
    """The message parsers of one closure.

    Args:
        types: The messages that an `Any` may contain, by full name.
        validate: Whether parsers check the range of integers and report the path of one that is out of range. Otherwise
            the constructor of the message does, with a `ValueError` that has no path.
    """

    def __init__(self, types: Mapping[str, Descriptor], *, validate: bool) -> None:
        self._types = types
        self._validate = validate
        self._parsers: Final[dict[str, ValueParser]] = {}
        self._waiting: Final[list[tuple[Descriptor, dict[str, FieldEntry]]]] = []
        self._compiling = False

    def compile(self, message: Descriptor) -> ValueParser:
        """Returns the parser of `message`, with those of all messages that it or an `Any` in it may contain.

        Not thread-safe. The parser itself may be used by any number of threads, because it compiles nothing more.
        """
        parser = self._parsers.get(message.full_name)
        if parser is not None:
            return parser
        if message.full_name in WELL_KNOWN:
            parser = self._parsers[message.full_name] = well_known_parser(message, self._types, self._compiled)
            if message.full_name == ANY:
                for content in self._types.values():
                    self.compile(content)
            return parser
        entries: dict[str, FieldEntry] = {}
        parser = _message_parser(message, entries)
        if message.is_extendable:
            parser = parser_with_extensions(message, parser)
        # Fields are compiled in a loop, without recursion: a message may contain itself, and nest a thousand deep.
        self._parsers[message.full_name] = parser
        self._waiting.append((message, entries))
        if not self._compiling:
            self._compile_fields()
        return parser

    def field_parser(self, field: JsonField) -> ValueParser:
        """The parser of the values of a field of a message that is compiled already. It may be called by any thread."""
        _, _, parse_value, parse_messages = self._entry(field)
        if parse_messages is not None:
            return parse_messages
        return lambda value, _level, _stats: value if parse_value is None else parse_value(value)

    def _compiled(self, message: Descriptor) -> ValueParser:
        """The parser of a message that is compiled already, as all are that an `Any` may contain."""
        return self._parsers[message.full_name]

    def _compile_fields(self) -> None:
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
                return name, None, list_parser(descriptor), None
            parse_value = scalar_parser(descriptor)
            if field.takes_null:
                # The only scalar of which null is a value: google.protobuf.NullValue.
                return name, None, partial(_or_zero, parse_value), None
            plain = plain_type(descriptor)
            return name, None if self._validate and plain is int else plain, parse_value, None
        if value_type.GetOptions().map_entry:
            value_field = value_type.fields_by_name["value"]
            parse_message = None if value_field.message_type is None else self.compile(value_field.message_type)
            return name, None, None, map_parser(value_type, parse_message)
        parse = self.compile(value_type)
        return name, None, None, message_list_parser(parse) if descriptor.is_repeated else partial(_deeper, parse)


def _message_parser(  # noqa: C901 - the loop over members is the hot path, and calls would be most of its cost
    message: Descriptor, entries: Mapping[str, FieldEntry]
) -> ValueParser:
    conflicts = conflict_check(message)
    takes_null = frozenset(name for field in json_fields(message) if field.takes_null for name in field.names)
    expected = f"expected an object ({message.full_name}), not "
    unknown = _unknown(message)
    find = entries.get

    def parse(document: JsonValue, level: int, stats: ParseStats) -> dict[str, Any]:  # noqa: C901
        if type(document) is not dict:
            raise ConversionError(expected + kind_of(document))
        if level > MAX_NESTING:
            raise ConversionError(TOO_DEEP)
        stats.names += len(document)
        errors: list[tuple[JsonPath, str]] = []
        if conflicts is not None:
            errors += conflicts(document)
        arguments: dict[str, Any] = {}
        for name, value in document.items():
            entry = find(name)
            if entry is None:
                errors.append(((name,), unknown))
            elif type(value) is entry[1]:
                arguments[entry[0]] = value
            elif value is not None or name in takes_null:
                try:
                    _parse_member(entry, arguments, value, level, stats)
                except ConversionError as error:
                    errors += error.prefixed(name)
            if len(errors) >= MAX_PROBLEMS:
                break
        if errors:
            raise ConversionError.of(errors)
        return arguments

    return parse


def _unknown(message: Descriptor) -> str:
    names = [repr(field.json_name) for field in json_fields(message)]
    known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{message.full_name} has no such field; it has {known or 'none'}"


def _parse_member(
    entry: FieldEntry, arguments: dict[str, Any], value: JsonValue, level: int, stats: ParseStats
) -> None:
    field, _, parse_value, parse_messages = entry
    if parse_messages is not None:
        arguments[field] = parse_messages(value, level, stats)
    elif parse_value is not None:
        arguments[field] = parse_value(value)


def _deeper(parse: ValueParser, value: JsonValue, level: int, stats: ParseStats) -> Any:
    return parse(value, level + 1, stats)


def _or_zero(parse_value: ScalarParser, value: JsonValue) -> int:
    return 0 if value is None else int(parse_value(value))


def parser_with_extensions(message: Descriptor, parse: ValueParser) -> ValueParser:
    """The parser of a `message` with extensions, on top of one that returns their values beside those of its fields.

    The constructor of a message does not accept extensions, so they are set on the finished message.
    """
    message_class = GetMessageClass(message)
    extensions = {field.json_name: field.descriptor for field in json_fields(message) if field.descriptor.is_extension}

    def parse_extended(document: JsonValue, level: int, stats: ParseStats) -> Any:
        arguments: dict[str, Any] = parse(document, level, stats)
        given = extensions.keys() & arguments.keys()
        if not given:
            return arguments
        values = {name: arguments.pop(name) for name in given}
        target = message_class()

        def fill() -> None:
            message_class.MergeFrom(target, message_class(**arguments))
            for name, value in values.items():
                _set(target, extensions[name], value)

        stats.deferred.append(fill)
        return target

    return parse_extended


def _set(target: Any, extension: FieldDescriptor, value: Any) -> None:
    handle = cast("Any", extension)  # the stubs expect the extension's handle; at run time the descriptor is accepted
    value_type = extension.message_type
    if value_type is None:
        if extension.is_repeated:
            target.Extensions[handle].extend(value)
        else:
            target.Extensions[handle] = value
        return
    value_class = GetMessageClass(value_type)
    for each in value if extension.is_repeated else (value,):
        content = value_class(**cast("dict[str, Any]", each)) if type(each) is dict else each
        if extension.is_repeated:
            target.Extensions[handle].append(content)
        else:
            # Marks the field as present: copying an empty message would not.
            value_class.SetInParent(target.Extensions[handle])
            value_class.CopyFrom(target.Extensions[handle], content)
