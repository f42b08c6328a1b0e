"""What is left to do with an object whose types the JSON parser has checked, before a message is constructed of it.

Names are counted, fields get the names that the constructor knows, and some values are converted. Functions that do this
are made for each message as those of `dataclasses` are: source text is compiled, in which the names of a contract stand
only as string literals. A loop over the fields would cost as much as the JSON parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.descriptors.fields import JsonField, json_fields, json_oneofs
from hub.contract.descriptors.well_known import NULL_VALUE, WELL_KNOWN
from hub.contract.protojson.conversion import ParseStats
from hub.contract.protojson.scalar_parser import FLOAT_MAX
from hub.types import MAX_NESTING

Document: TypeAlias = dict[str, Any]
Finish: TypeAlias = Callable[[Document, int, ParseStats], int]
"""Makes an object fit for the constructor, in place; returns the number of names in it that no other parser counts.

The arguments are the object, the nesting level of its message, and the counts of the parsers of `parser.py`.
"""

_SCALARS: Final[Mapping[int, Any]] = {
    FieldDescriptor.CPPTYPE_INT32: int,  # the constructor checks the range
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
    FieldDescriptor.CPPTYPE_FLOAT: Annotated[float, msgspec.Meta(ge=-FLOAT_MAX, le=FLOAT_MAX)],
    FieldDescriptor.CPPTYPE_BOOL: bool,
}


class Unusual(ValueError):
    """The document has something that only the other parsers read."""


class Form(Enum):
    """What is done with the value of a field."""

    PLAIN = auto()
    """Nothing: it is a scalar, or a list of scalars, as the constructor takes it."""

    COUNTED = auto()
    """The names of a map are counted."""

    INTEGER = auto()
    """One or more 64 bit integers are converted, which may be strings."""

    MESSAGE = auto()
    """One or more messages are finished."""

    MAP = auto()
    """The messages of a map are finished."""

    PARSED = auto()
    """One of the parsers of `parser.py` checks and converts it."""


def form_of(field: FieldDescriptor) -> Form:
    message = field.message_type
    if message is None:
        if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
            return Form.INTEGER
        return Form.PARSED if scalar_type(field) is None else Form.PLAIN
    if not message.GetOptions().map_entry:
        return Form.PARSED if message.full_name in WELL_KNOWN else Form.MESSAGE
    value = message.fields_by_name["value"]
    if message.fields_by_name["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if value.message_type is None and scalar_type(value) is not None:
            return Form.COUNTED
        if value.message_type is not None and value.message_type.full_name not in WELL_KNOWN:
            return Form.MAP
    return Form.PARSED


def scalar_type(field: FieldDescriptor) -> Any:
    """The type of one value of a field that the constructor takes as the JSON parser returns it; `None` for others."""
    enum = field.enum_type
    if enum is not None:
        if enum.full_name == NULL_VALUE:
            return None
        return str if enum.is_closed else str | int
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return bytes if field.type == FieldDescriptor.TYPE_BYTES else str
    return _SCALARS.get(field.cpp_type)


def function_name(field: JsonField) -> str:
    """The name of the function that a finisher calls for a field: a `Finish`, or a parser for converted values."""
    return f"field_{field.descriptor.number}"


def finisher(message: Descriptor, functions: dict[str, object]) -> Finish:
    """The function for the objects of a message.

    Args:
        message: Its descriptor.
        functions: Filled with those of its fields before the function is called; see `function_name`.
    """
    functions["unusual"] = Unusual
    fields = [field for field in json_fields(message) if not field.descriptor.is_extension]
    lines = [
        "def finish(document, level, stats):",
        f" if level > {MAX_NESTING}: raise unusual",
        " names = len(document)",
    ]
    for index, (_, members) in enumerate(json_oneofs(message)):
        functions[f"oneof_{index}"] = frozenset(members)
        lines.append(f" if len(oneof_{index} & document.keys()) > 1: raise unusual")
    lines += [
        f" if {field.json_name!r} not in document: raise unusual" for field in fields if field.descriptor.is_required
    ]
    for field in fields:
        lines += _statements(field)
    lines.append(" return names")
    exec("\n".join(lines), functions)  # noqa: S102 - literals only, see above
    return cast("Finish", functions["finish"])  # the function of the template


def _statements(field: JsonField) -> Iterable[str]:
    descriptor, function, name = field.descriptor, function_name(field), repr(field.json_name)
    target = repr(descriptor.name)
    converts = False
    actions: list[str] = []
    match form_of(descriptor):
        case Form.COUNTED:
            actions = [f"names += len(document[{name}])"]
        case Form.MESSAGE if not descriptor.is_repeated:
            actions = [f"names += {function}(document[{name}], level + 1, stats)"]
        case Form.MESSAGE if _is_counted(descriptor.message_type):
            actions = [f"if level >= {MAX_NESTING}: raise unusual", f"names += sum(map(len, document[{name}]))"]
        case Form.MESSAGE:
            actions = [f"for item in document[{name}]: names += {function}(item, level + 1, stats)"]
        case Form.MAP:
            # An entry is a message too, so its value is two levels further in.
            actions = [
                f"names += len(document[{name}])",
                f"for item in document[{name}].values(): names += {function}(item, level + 2, stats)",
            ]
        case Form.INTEGER | Form.PARSED:
            converts = True
            actions = [f"document[{target}] = {function}(document.pop({name}), level, stats)"]
        case Form.PLAIN:
            pass
    if field.json_name != descriptor.name and not converts:
        actions.append(f"document[{target}] = document.pop({name})")
    if actions:
        yield f" if {name} in document:"
        yield from (f"  {action}" for action in actions)


def _is_counted(message: Descriptor | None) -> bool:
    """Whether nothing is done with the objects of a message but counting the names."""
    return message is not None and not (message.oneofs or any(_is_changed(field) for field in json_fields(message)))


def _is_changed(field: JsonField) -> bool:
    descriptor = field.descriptor
    return descriptor.is_required or descriptor.name != field.json_name or form_of(descriptor) is not Form.PLAIN
