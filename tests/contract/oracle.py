"""`google.protobuf.json_format` as a judge, and the places where hub is stricter on purpose.

`docs/protojson.md` explains each of them. A document that hub refuses and the oracle takes must be explained by one of
them at every place that hub names; there is no document that hub takes and the oracle refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract import Problem
from hub.contract.jsontext import JsonValue

_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


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
    return isinstance(value, str) and not re.fullmatch(r"[\w/+-]*={0,2}", value, re.ASCII) or _odd_padding(value)


def _odd_padding(value: JsonValue) -> bool:
    return isinstance(value, str) and (
        "=" in value and len(value) % 4 != 0 or len(value.rstrip("=")) % 4 == 1 or "=" in value
    )


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
