"""Parsers of the well-known types, which have a JSON form of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any, Final, TypeAlias, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from hub.contract import patterns
from hub.contract.descriptors import well_known
from hub.contract.descriptors.well_known import TIMESTAMP_SECONDS
from hub.contract.errors import MAX_PROBLEMS, JsonPath
from hub.contract.protojson.conversion import TOO_DEEP, ConversionError, JsonValue, ParseStats, ValueParser
from hub.contract.protojson.scalar_parser import DOUBLE_MAX, kind_of, scalar_parser
from hub.types import MAX_NESTING

_EPOCH: Final = date(1970, 1, 1).toordinal()
_timestamp: Final = re.compile(patterns.TIMESTAMP).fullmatch
_duration: Final = re.compile(patterns.DURATION).fullmatch
_field_mask: Final = re.compile(patterns.FIELD_MASK).fullmatch


def well_known_parser(
    message: Descriptor, types: Mapping[str, Descriptor], parser_of: Callable[[Descriptor], ValueParser]
) -> ValueParser:
    """The parser of a message of `well_known.WELL_KNOWN`; it returns finished messages.

    Args:
        message: Its descriptor.
        types: The messages that an `Any` may contain, by full name.
        parser_of: Returns the parser of one of these; called while documents are parsed.
    """
    name = message.full_name
    message_class = cast("type[Any]", GetMessageClass(message))  # its fields were checked when the pool was built
    if name in well_known.WRAPPERS:
        parse_value = scalar_parser(message.fields_by_name["value"])
        return lambda value, _level, _stats: message_class(value=parse_value(value))
    if name == well_known.ANY:
        return _any_parser(message_class, types, parser_of)
    if name in _BUILDERS:
        return _dynamic_parser(message_class, *_BUILDERS[name])
    fill = _FILLERS[name]

    def parse(value: JsonValue, _level: int, stats: ParseStats) -> Any:
        target = message_class()
        fill(target, value, stats)
        return target

    return parse


def _dynamic_parser(message_class: type[Any], check: _Check, build: _Build) -> ValueParser:
    def parse(value: JsonValue, level: int, stats: ParseStats) -> Any:
        check(value, level, stats)
        target = message_class()
        stats.deferred.append(partial(build, target, value))
        return target

    return parse


def _any_parser(
    message_class: type[Any], types: Mapping[str, Descriptor], parser_of: Callable[[Descriptor], ValueParser]
) -> ValueParser:
    def parse(document: JsonValue, level: int, stats: ParseStats) -> Any:
        if type(document) is not dict:
            raise ConversionError(f'expected an object with "@type", not {kind_of(document)}')
        if level > MAX_NESTING:
            raise ConversionError(TOO_DEEP)
        if not document:
            return message_class()
        url = document.get("@type")
        if type(url) is not str:
            raise ConversionError(
                '"@type" is missing: it says what the Any holds, such as "type.googleapis.com/a.Message"'
            )
        _, slash, name = url.rpartition("/")
        message = types.get(name) if slash else None
        if message is None:
            reason = f"{url!r} names no message of the contract: expected an URL that ends in /full.Name"
            raise ConversionError(reason, ("@type",))
        rest = {member: value for member, value in document.items() if member != "@type"}
        stats.names += 1
        parse_message = parser_of(message)
        if name in well_known.WELL_KNOWN:
            stats.names += len(rest)
            content = _parse_value_member(rest, parse_message, level, stats)
        else:
            content = parse_message(rest, level + 1, stats)
        content_class = GetMessageClass(message)
        target = message_class(type_url=url)

        def fill() -> None:
            held = content_class(**cast("dict[str, Any]", content)) if type(content) is dict else content
            target.value = content_class.SerializeToString(held, deterministic=True)

        stats.deferred.append(fill)
        return target

    return parse


def _parse_value_member(rest: dict[str, JsonValue], parse: ValueParser, level: int, stats: ParseStats) -> Any:
    errors: list[tuple[JsonPath, str]] = [
        ((member,), 'unknown here: a well-known type stands in "value"') for member in rest if member != "value"
    ]
    content: Any = None
    if "value" not in rest:
        errors.append(((), 'the member "value" is missing'))
    else:
        try:
            content = parse(rest["value"], level + 1, stats)
        except ConversionError as error:
            errors += error.prefixed("value")
    if errors:
        raise ConversionError.of(errors)
    return content


def _fill_timestamp(target: Any, value: JsonValue, stats: ParseStats) -> None:
    if type(value) is not str or not _timestamp(value):
        raise ConversionError(f'expected a time such as "2026-01-31T12:00:00Z" (RFC 3339), not {kind_of(value)}')
    days = date(int(value[:4]), int(value[5:7]), int(value[8:10])).toordinal() - _EPOCH
    seconds = days * 86400 + int(value[11:13]) * 3600 + int(value[14:16]) * 60 + int(value[17:19])
    rest = value[19:]
    stats.colons += 2
    if rest.endswith("Z"):
        fraction = rest[1:-1]
    else:
        fraction = rest[1:-6]
        stats.colons += 1
        offset = int(rest[-5:-3]) * 3600 + int(rest[-2:]) * 60
        seconds -= offset if rest[-6] == "+" else -offset
        if seconds not in TIMESTAMP_SECONDS:
            raise ConversionError(f"{value!r} is not within the years 1 to 9999 in UTC: its offset leads out of them")
    target.seconds = seconds
    target.nanos = int(fraction.ljust(9, "0")) if fraction else 0


def _fill_duration(target: Any, value: JsonValue, _stats: ParseStats) -> None:
    if type(value) is not str or not _duration(value):
        raise ConversionError(f'expected seconds such as "1.5s", not {kind_of(value)}')
    seconds, _, fraction = value[:-1].partition(".")
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    target.seconds = int(seconds)
    target.nanos = -nanos if value.startswith("-") else nanos


def _fill_field_mask(target: Any, value: JsonValue, _stats: ParseStats) -> None:
    if type(value) is not str or not _field_mask(value):
        raise ConversionError(
            f'expected paths in lowerCamelCase such as "user.displayName,photo", not {kind_of(value)}'
        )
    if value:
        paths = ("".join(f"_{each.lower()}" if each.isupper() else each for each in path) for path in value.split(","))
        target.paths.extend(paths)


def _check_struct(value: JsonValue, level: int, stats: ParseStats) -> None:
    if type(value) is not dict:
        raise ConversionError(f"expected an object, not {kind_of(value)}")
    stats.names += len(value)
    errors: list[tuple[JsonPath, str]] = []
    for name, member in value.items():
        try:
            _check_value(member, level + 2, stats)
        except ConversionError as error:
            errors += error.prefixed(name)
            if len(errors) >= MAX_PROBLEMS:
                break
    if errors:
        raise ConversionError.of(errors)


def _check_list(value: JsonValue, level: int, stats: ParseStats) -> None:
    if type(value) is not list:
        raise ConversionError(f"expected an array, not {kind_of(value)}")
    errors: list[tuple[JsonPath, str]] = []
    for index, item in enumerate(value):
        try:
            _check_value(item, level + 1, stats)
        except ConversionError as error:
            errors += error.prefixed(index)
            if len(errors) >= MAX_PROBLEMS:
                break
    if errors:
        raise ConversionError.of(errors)


def _check_value(value: JsonValue, level: int, stats: ParseStats) -> None:
    if level > MAX_NESTING:
        raise ConversionError(TOO_DEEP)
    kind = type(value)
    if kind is dict:
        _check_struct(value, level + 1, stats)
    elif kind is list:
        _check_list(value, level + 1, stats)
    elif kind is int and not -DOUBLE_MAX <= cast("int", value) <= DOUBLE_MAX:  # each float of a document is finite
        raise ConversionError(f"expected a number from {-DOUBLE_MAX} to {DOUBLE_MAX}")


def _build_struct(target: Any, value: Any) -> None:
    fields = target.fields
    for name, member in value.items():
        _build_value(fields[name], member)


def _build_list(target: Any, value: Any) -> None:
    add = target.values.add
    for item in value:
        _build_value(add(), item)


def _build_value(target: Any, value: JsonValue) -> None:
    match value:
        case None:
            target.null_value = 0
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int() | float():
            target.number_value = float(value)
        case dict():
            target.struct_value.SetInParent()
            _build_struct(target.struct_value, value)
        case list():
            target.list_value.SetInParent()
            _build_list(target.list_value, value)


_FILLERS: Final[dict[str, Callable[[Any, JsonValue, ParseStats], None]]] = {
    well_known.TIMESTAMP: _fill_timestamp,
    well_known.DURATION: _fill_duration,
    well_known.FIELD_MASK: _fill_field_mask,
}

_Check: TypeAlias = Callable[[JsonValue, int, ParseStats], None]
_Build: TypeAlias = Callable[[Any, JsonValue], None]

_BUILDERS: Final[dict[str, tuple[_Check, _Build]]] = {
    well_known.STRUCT: (_check_struct, _build_struct),
    well_known.LIST_VALUE: (_check_list, _build_list),
    well_known.VALUE: (_check_value, _build_value),
}
"""Messages of any shape, which are built only after the whole document has been checked."""
