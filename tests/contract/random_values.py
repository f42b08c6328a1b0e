"""Random messages of a type, and documents with random damage."""

from __future__ import annotations

import copy
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from hub.contract.protojson.conversion import JsonValue
from hub.contract.protojson.scalar_parser import INTEGER_RANGES

MAX_LEVEL = 3

TEXT = st.text(max_size=6) | st.sampled_from(('a:"b', "\\", "/~", "\u2028"))
ODD: Final = cast(
        "list[JsonValue]",
        [
            None, True, False, 0, -0.0, 1, -1, 1.0, 1.5, 1e2, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53 + 1,
            2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 1e19, 3.4028234663852886e38, 3.5e38, 1e300,
            10**39, 10**400, "", "0", "-0", "1", "01", "+1", "1.0", "1.5", "1e2", "1E+2", "1e-2", "100e-2", "12.50e1",
            "1_0", " 1", "1 ", "٣", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
            "18446744073709551615", "4294967296", "2e9", "3e9", "9e18", "1e19", "0x10",
            "NaN", "nan", "Infinity", "-Infinity", "inf", "1e38", "3.4028234663852886e38", "3.41e38", "1e308",
            "1.7976931348623157e308", "1.8e308", "1e400", "0e999", "123456789012345678901.5", "true", "false", "null",
            "YQ==", "YQ", "YQ=", "Y", "-_", "+/", "Y Q", "YWI=", "YWJj", "YWJj\n", "====", "YQ==YQ==", "ä",
            "COLOR_RED", "COLOR_CRIMSON", "COLOR_NONE", "color_red", "NULL_VALUE", -5, 7,
            "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789+05:30", "2026-02-29T00:00:00Z",
            "2024-02-29T23:59:59.5-23:59", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:59+00:01", "0001-07-01T00:00:00+23:59",
            "2026-01-31t12:00:00z", "2026-1-31T12:00:00Z", "2026-01-31T12:00:60Z", "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.1234567890Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:00+24:00",
            "1900-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "2026-01-31T12:00:00Z\n",
            "1s", "-1.5s", "0.000000001s", "1.0000000001s", "315576000000s", "315576000001s", "1", ".5s", "1.s", "+1s",
            "-0.5s", "315576000000.999999999s", "01s", "a,bC", "a_b", "fooBar.baz", ",",
            [], [None], [1], ["1", 2], [[]], {}, {"value": 1}, {"@type": "x/google.protobuf.Duration", "value": "1s"},
            {"@type": "google.protobuf.Duration", "value": "1s"}, {"@type": "x/google.protobuf.Duration", "value": 1},
            {"@type": "x/google.protobuf.Duration", "value": "1s", "more": 1}, {"@type": "x/google.protobuf.Duration"},
            {"@type": "x/google.protobuf.Empty"}, {"@type": "x/google.protobuf.Empty", "value": {}},
            {"@type": "x/none.Such"}, {"@type": 1}, {"@type": "x/google.protobuf.Any", "value": {}},
            {"@type": "/google.protobuf.Value", "value": None}, {"@type": "x/google.protobuf.Int64Value", "value": "7"},
            {"@type": "x/google.protobuf.Int64Value", "value": None}, {"@type": "x/random.v1.Message0"},
            {"1": 1, "01": 2}, {"true": True}, {"1": None}, {"-0": 1}, {"a": {"b": [1, {"c": None}]}},
        ],
)  # fmt: skip
"""JSON values at the limits of parsers."""

ODD_VALUES: Final = st.sampled_from(ODD)


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of `descriptor` that have a JSON form."""

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message = GetMessageClass(descriptor)()
        _fill(draw, message, descriptor, 0)
        return message

    return build()


def _fill(draw: st.DrawFn, message: Any, descriptor: Descriptor, level: int) -> None:
    if _fill_well_known(draw, message, descriptor, level):
        return
    for field in descriptor.fields:
        too_deep = field.message_type is not None and level >= MAX_LEVEL
        if field.is_required or (draw(st.booleans()) and not too_deep):
            _fill_field(draw, message, field, level)


def _fill_field(draw: st.DrawFn, message: Any, field: FieldDescriptor, level: int) -> None:
    value_type = field.message_type
    if value_type is None:
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(_scalars(field), max_size=3)))
        else:
            setattr(message, field.name, draw(_scalars(field)))
    elif value_type.GetOptions().map_entry:
        target = getattr(message, field.name)
        value_field = value_type.fields_by_name["value"]
        for key in draw(st.lists(_scalars(value_type.fields_by_name["key"]), max_size=2)):
            if value_field.message_type is not None:
                _fill(draw, target[key], value_field.message_type, level + 1)
            else:
                target[key] = draw(_scalars(value_field))
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            _fill(draw, getattr(message, field.name).add(), value_type, level + 1)
    else:
        child = getattr(message, field.name)
        child.SetInParent()
        _fill(draw, child, value_type, level + 1)


def _scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        numbers = sorted({value.number for value in field.enum_type.values})
        known = st.sampled_from(numbers)
        return known if field.enum_type.is_closed else known | st.integers(-(2**31), 2**31 - 1)
    if field.cpp_type in INTEGER_RANGES:
        low, high = INTEGER_RANGES[field.cpp_type]
        return st.integers(low, high) | st.sampled_from((low, high))
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats()
        case FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case _:
            return st.binary(max_size=9) if field.type == FieldDescriptor.TYPE_BYTES else TEXT


def _fill_well_known(draw: st.DrawFn, message: Any, descriptor: Descriptor, level: int) -> bool:
    match descriptor.full_name:
        case "google.protobuf.Timestamp":
            message.seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
            message.nanos = draw(st.sampled_from((0, 1, 500_000_000, 1_000, 999_999_999)))
        case "google.protobuf.Duration":
            sign = draw(st.sampled_from((-1, 1)))
            message.seconds = sign * draw(st.integers(0, 315_576_000_000))
            message.nanos = sign * draw(st.sampled_from((0, 1, 500_000_000, 1_000, 999_999_999)))
        case "google.protobuf.FieldMask":
            message.paths.extend(draw(st.lists(st.sampled_from(("a", "foo_bar", "a.b_c", "é_é")), max_size=3)))
        case "google.protobuf.Any":
            if level < MAX_LEVEL and draw(st.booleans()):
                name = draw(
                    st.sampled_from(("random.v1.Message0", "google.protobuf.Duration", "google.protobuf.Empty"))
                )
                content_type = descriptor.file.pool.FindMessageTypeByName(name)
                content = GetMessageClass(content_type)()
                _fill(draw, content, content_type, level + 1)
                message.type_url = f"type.googleapis.com/{name}"
                message.value = type(content).SerializePartialToString(content, deterministic=True)
        case "google.protobuf.Value":
            _fill_value(draw, message, level)
        case _:
            return False
    return True


def _fill_value(draw: st.DrawFn, message: Any, level: int) -> None:
    kind = draw(st.sampled_from(("unset", "null", "number", "text", "flag", "object", "array")))
    if kind == "null":
        message.null_value = 0
    elif kind == "number":
        message.number_value = draw(st.floats(allow_nan=False, allow_infinity=False))
    elif kind == "text":
        message.string_value = draw(TEXT)
    elif kind == "flag":
        message.bool_value = draw(st.booleans())
    elif kind == "object":
        message.struct_value.SetInParent()
        if level < MAX_LEVEL:
            _fill_value(draw, message.struct_value.fields[draw(TEXT)], level + 1)
    elif kind == "array":
        message.list_value.SetInParent()
        if level < MAX_LEVEL:
            _fill_value(draw, message.list_value.values.add(), level + 1)


@st.composite
def damaged(draw: st.DrawFn, document: JsonValue, descriptor: Descriptor) -> JsonValue:
    """`document` with up to three changes, any of which may leave it good."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        changed = draw(_changed(changed, descriptor))
    return changed


@st.composite
def _changed(draw: st.DrawFn, document: JsonValue, descriptor: Descriptor) -> JsonValue:
    if isinstance(document, dict) and draw(st.integers(0, 9)):
        return draw(_changed_object(document, descriptor))
    if isinstance(document, list) and document and draw(st.booleans()):
        index = draw(st.integers(0, len(document) - 1))
        return [*document[:index], draw(_changed(document[index], descriptor)), *document[index + 1 :]]
    return draw(ODD_VALUES)


@st.composite
def _changed_object(draw: st.DrawFn, document: dict[str, JsonValue], descriptor: Descriptor) -> JsonValue:
    actions = ("field", "add", "deeper", "deeper", "deeper", "value", "rename", "drop")
    action = draw(st.sampled_from(actions if document else actions[:2]))
    changed = dict(document)
    name = draw(st.sampled_from([*document])) if document else ""
    match action:
        case "field":
            field = draw(st.sampled_from([*descriptor.fields]))
            changed[draw(st.sampled_from((field.name, field.json_name)))] = draw(_for(field))
        case "add":
            changed[draw(st.sampled_from(("x", "1", "true", "@type")))] = draw(ODD_VALUES)
        case "deeper":
            changed[name] = draw(_changed(document[name], descriptor))
        case "value":
            changed[name] = draw(ODD_VALUES)
        case "rename":
            del changed[name]
            other = st.sampled_from(("x", "foo_bar", "01", "1e0", "+1", "@type", "value", name.upper()))
            changed[draw(other)] = document[name]
        case _:
            del changed[name]
    return changed


def _for(field: FieldDescriptor) -> st.SearchStrategy[JsonValue]:
    """Values at which the readers of `field` could stumble."""
    if not field.is_repeated:
        return ODD_VALUES
    entries = st.dictionaries(st.sampled_from(("1", "true", "k")), ODD_VALUES, max_size=2)
    return st.lists(ODD_VALUES, max_size=2) | entries | ODD_VALUES
