"""The options of `buf.validate` in descriptors: which messages they are, and how they are read.

A message class for them is made from the table below, in a pool of its own. A module that protoc generated from
`buf/validate/validate.proto` is not needed, and one that an application has loaded is not in the way.

Source: `buf/validate/validate.proto` of protovalidate 1.2 (https://buf.build/bufbuild/protovalidate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    MessageOptions,
    OneofOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

PACKAGE: Final = "buf.validate"
EXTENSION: Final = 1159
"""Number of the extensions `buf.validate.field`, `.message` and `.oneof` of the three kinds of options."""

_DURATION: Final = "google.protobuf.Duration"
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_FIELD_MASK: Final = "google.protobuf.FieldMask"


def _ordered(type_name: str, first: int = 1) -> str:
    """Limits that values with an order have in common, for a message whose first field has the number `first`."""
    names = ("const", "lt@less", "lte@less", "gt@greater", "gte@greater")
    return " ".join(f"{name}={number}:{type_name}" for number, name in enumerate(names, first))


def _number(type_name: str) -> str:
    example = 9 if type_name in ("float", "double", "int64") else 8
    return f"{_ordered(type_name)} *in=6:{type_name} *not_in=7:{type_name} *example={example}:{type_name}"


def _floating(type_name: str) -> str:
    return f"{_number(type_name)} finite=8:bool"


_LENGTHS: Final = "min_len=2:uint64 max_len=3:uint64"
_NUMBERS: Final = {
    "int32": "Int32Rules",
    "int64": "Int64Rules",
    "uint32": "UInt32Rules",
    "uint64": "UInt64Rules",
    "sint32": "SInt32Rules",
    "sint64": "SInt64Rules",
    "fixed32": "Fixed32Rules",
    "fixed64": "Fixed64Rules",
    "sfixed32": "SFixed32Rules",
    "sfixed64": "SFixed64Rules",
}
_KNOWN_STRINGS: Final = (
    "email=12 hostname=13 ip=14 ipv4=15 ipv6=16 uri=17 uri_ref=18 address=21 uuid=22 tuuid=33 ip_with_prefixlen=26 "
    "ipv4_with_prefixlen=27 ipv6_with_prefixlen=28 ip_prefix=29 ipv4_prefix=30 ipv6_prefix=31 host_and_port=32 ulid=35 "
    "protobuf_fqn=37 protobuf_dot_fqn=38"
)

_MESSAGES: Final[Mapping[str, str]] = {
    "Rule": "id=1:string message=2:string expression=3:string",
    "MessageOneofRule": "*fields=1:string required=2:bool",
    "MessageRules": "*cel_expression=5:string *cel=3:Rule *oneof=4:MessageOneofRule",
    "OneofRules": "required=1:bool",
    "FieldRules": "*cel_expression=29:string *cel=23:Rule required=25:bool ignore=27:int32 "
    "float@type=1:FloatRules double@type=2:DoubleRules "
    + " ".join(f"{name}@type={number}:{message}" for number, (name, message) in enumerate(_NUMBERS.items(), 3))
    + " bool@type=13:BoolRules string@type=14:StringRules bytes@type=15:BytesRules enum@type=16:EnumRules "
    "repeated@type=18:RepeatedRules map@type=19:MapRules any@type=20:AnyRules duration@type=21:DurationRules "
    "field_mask@type=28:FieldMaskRules timestamp@type=22:TimestampRules",
    "FloatRules": _floating("float"),
    "DoubleRules": _floating("double"),
    **{message: _number(name) for name, message in _NUMBERS.items()},
    "BoolRules": "const=1:bool *example=2:bool",
    "StringRules": f"const=1:string len=19:uint64 {_LENGTHS} len_bytes=20:uint64 min_bytes=4:uint64 max_bytes=5:uint64 "
    "pattern=6:string prefix=7:string suffix=8:string contains=9:string not_contains=23:string *in=10:string "
    f"*not_in=11:string {_KNOWN_STRINGS.replace('=', '@well_known=').replace(' ', ':bool ')}:bool "
    "well_known_regex@well_known=24:int32 strict=25:bool *example=34:string",
    "BytesRules": f"const=1:bytes len=13:uint64 {_LENGTHS} pattern=4:string prefix=5:bytes suffix=6:bytes contains=7:bytes "
    "*in=8:bytes *not_in=9:bytes ip@well_known=10:bool ipv4@well_known=11:bool ipv6@well_known=12:bool "
    "uuid@well_known=15:bool *example=14:bytes",
    "EnumRules": "const=1:int32 defined_only=2:bool *in=3:int32 *not_in=4:int32 *example=5:int32",
    "RepeatedRules": "min_items=1:uint64 max_items=2:uint64 unique=3:bool items=4:FieldRules",
    "MapRules": "min_pairs=1:uint64 max_pairs=2:uint64 keys=4:FieldRules values=5:FieldRules",
    "AnyRules": "*in=2:string *not_in=3:string",
    "DurationRules": f"{_ordered(_DURATION, 2)} *in=7:{_DURATION} *not_in=8:{_DURATION} *example=9:{_DURATION}",
    "TimestampRules": f"{_ordered(_TIMESTAMP, 2)} lt_now@less=7:bool gt_now@greater=8:bool within=9:{_DURATION} "
    f"*example=10:{_TIMESTAMP}",
    "FieldMaskRules": f"const=1:{_FIELD_MASK} *in=2:string *not_in=3:string *example=4:{_FIELD_MASK}",
    "FieldOptions": f"rules={EXTENSION}:FieldRules",
    "MessageOptions": f"rules={EXTENSION}:MessageRules",
    "OneofOptions": f"rules={EXTENSION}:OneofRules",
}
"""Fields of each message: `name@oneof=number:type`, with a star before those that are repeated. The last three hold, of
the options of a declaration, only what belongs to `buf.validate`."""


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for module in (duration_pb2, timestamp_pb2, field_mask_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file = FileDescriptorProto(name="hub/buf_validate_options.proto", package=PACKAGE, syntax="proto2")
    file.dependency.extend(f"google/protobuf/{name}.proto" for name in ("duration", "timestamp", "field_mask"))
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        oneofs: dict[str, int] = {}
        for field in fields.split():
            _declare(message, oneofs, field)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _declare(message: DescriptorProto, oneofs: dict[str, int], text: str) -> None:
    declared, _, type_name = text.partition(":")
    left, _, number = declared.partition("=")
    name, _, oneof = left.removeprefix("*").partition("@")
    field = message.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.LABEL_REPEATED if left.startswith("*") else FieldDescriptorProto.LABEL_OPTIONAL
    keyword = f"TYPE_{type_name.upper()}"
    if keyword in FieldDescriptorProto.Type.keys():  # noqa: SIM118 - an enum wrapper is no mapping
        field.type = FieldDescriptorProto.Type.Value(keyword)
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{type_name}" if "." in type_name else f".{PACKAGE}.{type_name}"
    if oneof:
        if oneof not in oneofs:
            oneofs[oneof] = len(message.oneof_decl)
            message.oneof_decl.add(name=oneof)
        field.oneof_index = oneofs[oneof]


POOL: Final = _pool()
"""The pool of the options' messages; their names are those of `buf.validate`."""

_CLASSES: Final = {
    kind: GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{kind.__name__}"))
    for kind in (FieldOptions, MessageOptions, OneofOptions)
}


def rules_in(options: FieldOptions | MessageOptions | OneofOptions) -> Any:
    """The rules of `buf.validate` in the options of a declaration; `None` without any.

    Returns:
        A `FieldRules`, `MessageRules` or `OneofRules` of this module's pool.

    Raises:
        DecodeError: The bytes of the options are damaged.
    """
    held = _held(options)
    return held.rules if held is not None and held.HasField("rules") else None


def _held(options: FieldOptions | MessageOptions | OneofOptions) -> Any:
    data = options.SerializeToString()
    return _CLASSES[type(options)].FromString(data) if data else None


def copy_rules(
    options: FieldOptions | MessageOptions | OneofOptions, canonical: FieldOptions | MessageOptions | OneofOptions
) -> None:
    """Copies the rules of `options` to `canonical`, whose bytes depend on nothing but the rules."""
    rules = rules_in(options)
    if rules is not None:
        held = _CLASSES[type(options)](rules=rules)
        canonical.MergeFromString(held.SerializeToString(deterministic=True))


def unknown_rules(rules: Any) -> Iterator[tuple[str, int]]:
    """Fields that are set in `rules` and not in the table above: the message that contains each, and its number."""
    for field in cast("Any", UnknownFieldSet(rules)):  # the stubs do not know that it can be iterated
        yield rules.DESCRIPTOR.name, field.field_number
    for descriptor, value in rules.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.file.package == PACKAGE:
            for each in value if descriptor.is_repeated else (value,):
                yield from unknown_rules(each)
