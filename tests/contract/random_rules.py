"""Random messages with random rules, and random values near their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from hub.contract import CompiledContract, Contract, compile_contract
from hub.contract.descriptors.pool import build_pool
from hub.contract.descriptors.rule_options import PACKAGE, POOL

Kind: TypeAlias = FieldDescriptorProto.Type.ValueType

_SMALL = st.integers(-3, 3)
_COUNT = st.integers(0, 4)
_TEXT = st.text(st.sampled_from("ab.é\n"), max_size=4)
_BYTES = st.binary(max_size=4)
_FLOAT = st.sampled_from([0.0, -0.0, 0.1, 1.0, 1.5, -2.0, 3.0, math.nan, math.inf, -math.inf])
_PATTERNS = st.sampled_from(["^a", "b$", "^[ab]+$", r"\.", "a{2}", "^.$", r"^\w*$", "(?i)A", "^(?:a|b)?$", "[^a]", "é"])
_FORMATS = st.sampled_from(
    ["email", "hostname", "ip", "ipv4", "ipv6", "uri", "uri_ref", "address", "uuid", "host_and_port"]
)
_ADDRESSES = st.sampled_from(["a@b.c", "a.b", "10.0.0.1", "::1", "http://a/b", "/x?y", "a:1", "", "é", "[::1]:9"])

NUMBERS: Final = {
    "int32": (FieldDescriptorProto.TYPE_INT32, _SMALL),
    "int64": (FieldDescriptorProto.TYPE_INT64, _SMALL),
    "uint32": (FieldDescriptorProto.TYPE_UINT32, st.integers(0, 3)),
    "uint64": (FieldDescriptorProto.TYPE_UINT64, st.integers(0, 3)),
    "sint32": (FieldDescriptorProto.TYPE_SINT32, _SMALL),
    "fixed64": (FieldDescriptorProto.TYPE_FIXED64, st.integers(0, 3)),
    "sfixed32": (FieldDescriptorProto.TYPE_SFIXED32, _SMALL),
    "double": (FieldDescriptorProto.TYPE_DOUBLE, _FLOAT),
    "float": (FieldDescriptorProto.TYPE_FLOAT, _FLOAT),
}


def _some(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One to three of the rules."""
    picked = st.lists(st.sampled_from([*choices]), min_size=1, max_size=3, unique=True)
    return picked.flatmap(lambda names: st.fixed_dictionaries({name: choices[name] for name in names}))


def _number_rules(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    limits = values.filter(lambda value: not math.isnan(value))
    several = st.lists(values, min_size=1, max_size=3)
    return _some(const=values, lt=limits, lte=limits, gt=limits, gte=limits, not_in=several, **{"in": several})


_STRING_RULES = _some(
    const=_TEXT,
    len=_COUNT,
    min_len=_COUNT,
    max_len=_COUNT,
    len_bytes=_COUNT,
    min_bytes=_COUNT,
    max_bytes=_COUNT,
    pattern=_PATTERNS,
    prefix=_TEXT,
    suffix=_TEXT,
    contains=_TEXT,
    not_contains=_TEXT,
    not_in=st.lists(_TEXT, min_size=1, max_size=3),
    **{"in": st.lists(_TEXT, min_size=1, max_size=3)},
)
_BYTES_RULES = _some(
    const=_BYTES,
    len=_COUNT,
    min_len=_COUNT,
    max_len=_COUNT,
    prefix=_BYTES,
    suffix=_BYTES,
    contains=_BYTES,
    ipv4=st.just(True),
    not_in=st.lists(_BYTES, min_size=1, max_size=3),
    **{"in": st.lists(_BYTES, min_size=1, max_size=3)},
)
_ENUM_RULES = _some(
    const=_SMALL,
    defined_only=st.booleans(),
    not_in=st.lists(_SMALL, min_size=1, max_size=3),
    **{"in": st.lists(_SMALL, min_size=1, max_size=3)},
)

RULES: Final[dict[str, tuple[Kind, st.SearchStrategy[dict[str, Any]], st.SearchStrategy[Any]]]] = {
    **{name: (kind, _number_rules(values), values) for name, (kind, values) in NUMBERS.items()},
    "bool": (FieldDescriptorProto.TYPE_BOOL, _some(const=st.booleans()), st.booleans()),
    "string": (FieldDescriptorProto.TYPE_STRING, _STRING_RULES, _TEXT),
    "bytes": (FieldDescriptorProto.TYPE_BYTES, _BYTES_RULES, _BYTES),
    "enum": (FieldDescriptorProto.TYPE_ENUM, _ENUM_RULES, _SMALL),
}


def rules_message(**rules: Any) -> Message:
    """A `FieldRules`."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.FieldRules"))(**rules)


def with_rules(field: FieldDescriptorProto, **rules: Any) -> FieldDescriptorProto:
    """`field`, with the rules as an option that only the bytes of its options show."""
    holder = GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.FieldOptions"))
    field.options.MergeFrom(FieldOptions.FromString(holder(rules=rules_message(**rules)).SerializeToString()))
    return field


def ruled_contract(*fields: FieldDescriptorProto, nested: DescriptorProto | None = None) -> CompiledContract:
    """A contract of a request with these fields, and an empty response."""
    file = FileDescriptorProto(name="ruled.proto", package="ruled", syntax="proto3")
    request = file.message_type.add(name="Request")
    request.field.extend(fields)
    for field in request.field:
        if field.proto3_optional:
            field.oneof_index = len(request.oneof_decl)
            request.oneof_decl.add(name=f"_{field.name}")
    if nested is not None:
        request.nested_type.append(nested)
    values = [EnumValueDescriptorProto(name=name, number=number) for number, name in enumerate(("ZERO", "ONE", "TWO"))]
    file.enum_type.append(EnumDescriptorProto(name="Choice", value=values))
    file.message_type.add(name="Response")
    pool = build_pool(FileDescriptorSet(file=[file]))
    request_type, response_type = (pool.FindMessageTypeByName(f"ruled.{name}") for name in ("Request", "Response"))
    return compile_contract(Contract.from_descriptors(request_type, response_type))


def field_of(
    name: str, number: int, kind: Kind, label: Any = FieldDescriptorProto.LABEL_OPTIONAL
) -> FieldDescriptorProto:
    field = FieldDescriptorProto(name=name, number=number, label=label, type=kind)
    if kind == FieldDescriptorProto.TYPE_ENUM:
        field.type_name = ".ruled.Choice"
    return field


@st.composite
def ruled_messages(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[CompiledContract, Message]:
    """A contract whose request has rules, and a request."""
    fields: list[FieldDescriptorProto] = []
    values: dict[str, Any] = {}
    for number, name in enumerate(draw(st.lists(st.sampled_from([*RULES]), min_size=1, max_size=3)), 1):
        kind, rules, value = RULES[name]
        typed = {name: draw(rules)}
        if name == "string" and draw(st.booleans()):
            typed, value = {"string": {draw(_FORMATS): True}}, _ADDRESSES
        form = draw(st.sampled_from(["single", "optional", "repeated"]))
        repeated = form == "repeated"
        label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        field = field_of(f"field_{number}", number, kind, label)
        field.proto3_optional = form == "optional"
        options = draw(
            st.fixed_dictionaries({}, optional={"required": st.booleans(), "ignore": st.sampled_from([1, 3])})
        )
        if repeated:
            sizes = draw(_some(min_items=_COUNT, max_items=_COUNT, unique=st.booleans()))
            items = {**typed, **draw(st.fixed_dictionaries({}, optional={"ignore": st.sampled_from([1, 3])}))}
            typed = {"repeated": {**sizes, "items": items}}
            value = st.lists(value, max_size=4)
        fields.append(with_rules(field, **options, **typed))
        if draw(st.booleans()):
            values[field.name] = draw(value)
    compiled = ruled_contract(*fields)
    return compiled, compiled.request_class(**values)
