"""`google.protobuf.json_format` as a judge, and the places where hub is stricter on purpose.

`docs/protojson.md` explains each of them. A document that hub refuses and the oracle takes must be explained by one of
them at every place that hub names; of what the oracle refuses, hub takes one thing: null in place of a list of `Value` or `NullValue`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError, Message
from google.protobuf.message_factory import GetMessageClass
from jsonschema_rs import Draft202012Validator

from hub.contract import InvalidDocument, Problem, Transcoder
from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.well_known import NULL_VALUE, VALUE
from hub.contract.protojson.conversion import JsonValue

_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def assert_judged_alike(transcoder: Transcoder, schema: Draft202012Validator, text: bytes) -> None:
    """hub and the schema take `text`, or both refuse it; so does the oracle, but for the deviations."""
    document: JsonValue = msgspec.json.decode(text)
    expected = verdict(transcoder.descriptor, text)
    problems: Sequence[Problem] = ()
    own: Message | None = None
    try:
        own = transcoder.parse_json(text)
    except InvalidDocument as error:
        problems = error.problems
    # The schema accepts more in one case: a timestamp whose offset leads out of the years 1 to 9999.
    refused = any("its offset leads out" not in problem.message for problem in problems)
    assert schema.is_valid(document) != refused, (text, problems)
    if own is None:
        unexplained = [problem for problem in problems if not explained(document, problem)]
        assert expected is None or not unexplained, (text, unexplained)
        return
    if expected is None and b"null" in text and has_list_of_nulls(transcoder.descriptor):
        # The one thing that hub takes and the oracle does not: null in place of a list of Value or NullValue.
        expected = verdict(transcoder.descriptor, transcoder.encode_json(own))
    assert expected is not None, text
    assert type(own).SerializeToString(own, deterministic=True) == type(expected).SerializeToString(
        expected, deterministic=True
    ), text


def assert_reads_back(transcoder: Transcoder, document: JsonValue) -> None:
    """`document` is the output of hub for the message that it parses from the document."""
    message = transcoder.parse_json(msgspec.json.encode(document))
    written: JsonValue = msgspec.json.decode(transcoder.encode_json(message, including_defaults=True))
    assert _alike(written, document), written


def _alike(one: JsonValue, other: JsonValue) -> bool:
    """Equal, but for digits of numbers that a `float` or a `double` cannot hold."""
    match one, other:
        case (dict(), dict()):
            return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
        case (list(), list()):
            return len(one) == len(other) and all(map(_alike, one, other))
        case (bool(), _) | (_, bool()):
            return one is other
        case (int() | float(), int() | float()):
            return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-44)
        case _:
            return one == other


def has_list_of_nulls(descriptor: Descriptor) -> bool:
    """Whether nulls may stand in a list or in a map."""
    return any(
        field.is_repeated and declared is not None and declared.full_name in (VALUE, NULL_VALUE)
        for message in messages_of(files_of([descriptor])).values()
        if not message.full_name.startswith("google.protobuf.")
        for field in message.fields
        for element in (_element(field),)
        for declared in (element.message_type or element.enum_type,)
    )


def _element(field: FieldDescriptor) -> FieldDescriptor:
    """The field of the values if `field` is a map, else `field`."""
    entry = field.message_type
    return field if entry is None or not entry.GetOptions().map_entry else entry.fields_by_name["value"]


def verdict(descriptor: Descriptor, text: bytes) -> Message | None:
    """What the oracle makes of `text`; `None` if it refuses it, or if its message cannot be serialized."""
    try:
        message = json_format.Parse(text, GetMessageClass(descriptor)(), descriptor_pool=descriptor.file.pool)
        type(message).SerializeToString(message)
    except (json_format.ParseError, EncodeError):
        return None
    return message


def _not_a_json_number(value: JsonValue) -> bool:
    return isinstance(value, str) and not _JSON_NUMBER.fullmatch(value)


def _integer_out_of_form(value: JsonValue) -> bool:
    """A quoted integer in exponent form that has as many digits as the limit, or a negative exponent."""
    return isinstance(value, str) and ("e" in value.lower() or "." in value)


def _number_out_of_form(value: JsonValue) -> bool:
    if isinstance(value, str):
        return len(value) > 21 or "e" in value.lower()
    return isinstance(value, int) and abs(value) > 3.4028234663852886e38


def _no_strict_base64(value: JsonValue) -> bool:
    return isinstance(value, str) and (not re.fullmatch(r"[A-Za-z0-9/+_-]*", value) or len(value) % 4 == 1)


def _any(_value: JsonValue) -> bool:
    return True


DEVIATIONS: Sequence[tuple[str, str, Callable[[JsonValue], bool]]] = (
    ("number grammar", "expected an integer", _not_a_json_number),
    ("exponents of integers", "expected an integer", _integer_out_of_form),
    ("number grammar", "expected a number", _not_a_json_number),
    ("true is no number", "expected a number", lambda value: isinstance(value, bool)),
    ("size of floats", "expected a number", _number_out_of_form),
    ("map keys are canonical", "expected a key", _any),
    ("strict base64", "expected bytes", _no_strict_base64),
    ("enums by name or integer", "expected a name", lambda value: isinstance(value, bool | str | float)),
    ("enums have 32 bits", "expected a name", lambda value: isinstance(value, int) and not -(2**31) <= value < 2**31),
    ("messages are objects", "expected an object", lambda value: value in ("", [])),
    ("strict timestamps", "expected a time", lambda value: isinstance(value, str)),
    ("strict durations", "expected seconds", lambda value: isinstance(value, str)),
    ("both names of a field", "the same field", _any),
    ("null sets a Value in a oneof", "is given too", _any),
    ("required fields", "the required field", _any),
    ("an Any names its type by URL", "names no message", lambda value: isinstance(value, str) and "/" not in value),
    ("no other members beside value", "unknown here", _any),
    ("nesting as on the wire", "nested more than", _any),
)
"""Name, the words of hub's message, and which values at the named place it can be about."""


def explained(document: JsonValue, problem: Problem) -> bool:
    """Whether a deviation explains that hub refuses `document` because of `problem` though the oracle takes it."""
    value = at(document, problem.pointer)
    return any(words in problem.message and fits(value) for _, words, fits in DEVIATIONS)


def at(document: JsonValue, pointer: str) -> JsonValue:
    """The value at a JSON pointer."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document[name]
        elif isinstance(document, list):
            document = document[int(name)]
    return document
