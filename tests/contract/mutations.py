"""Random contracts, and random changes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from hypothesis import strategies as st

from hub.contract import Contract, InvalidContract
from hub.v1 import contract_pb2
from tests.contract.random_descriptors import (
    KEY_TYPES,
    MANY,
    ONE,
    REQUIRED,
    SCALAR_TYPES,
    WELL_KNOWN_FILES,
    descriptors,
    entry_name,
    oneof_of_optional,
)

F = FieldDescriptorProto

Mutation = Callable[[st.DrawFn, FileDescriptorProto], object]

TRIES = 4
"""How often a change that makes no valid file is put off for another one."""

_DEFAULTS = {
    F.TYPE_STRING: ("", "a", "b"),
    F.TYPE_BYTES: ("", "a", "b"),
    F.TYPE_BOOL: ("false", "true"),
    F.TYPE_DOUBLE: ("0", "1", "0.1", "nan", "inf"),
    F.TYPE_FLOAT: ("0", "1", "0.1", "nan", "inf"),
    F.TYPE_ENUM: ("COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_CRIMSON"),
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Contract, Contract]:
    """A contract of every kind of field, and one that up to four changes have made of it."""
    file = FileDescriptorProto()
    draw(descriptors()).file.CopyToProto(file)
    _enrich(draw, file)
    old = _contract(file)
    assert old is not None
    new = old
    for _ in range(draw(st.integers(1, 4))):
        for _ in range(TRIES):
            changed = FileDescriptorProto.FromString(file.SerializeToString())
            draw(st.sampled_from(MUTATIONS))(draw, changed)
            found = _contract(changed)
            if found is not None:
                file, new = changed, found
                break
    return old, new


def _contract(file: FileDescriptorProto) -> Contract | None:
    files = FileDescriptorSet(file=[file])
    for well_known in WELL_KNOWN_FILES:
        well_known.DESCRIPTOR.CopyToProto(files.file.add())
    request, response = (f"{file.package}.{message.name}" for message in (file.message_type[0], file.message_type[-1]))
    try:
        message = contract_pb2.Contract(request=request, response=response, files=files)
        return Contract.decode(message.SerializeToString())
    except InvalidContract:
        return None


def _enrich(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    """What random descriptors do not have: reservations, defaults, a second enum of the same short name."""
    for message in file.message_type:
        message.reserved_range.add(start=50, end=60)
        message.reserved_name.append("former")
    file.enum_type[0].reserved_range.add(start=50, end=60)
    file.enum_type[0].reserved_name.append("COLOR_FORMER")
    inner = file.message_type[0].enum_type.add()
    inner.CopyFrom(file.enum_type[0])
    if draw(st.booleans()):
        inner.value.add(name="COLOR_MORE", number=9)
    if file.syntax in ("", "proto2"):
        for message in file.message_type:
            for field in message.field:
                if draw(st.booleans()):
                    _set_default(draw, field)


def _labels(file: FileDescriptorProto) -> Sequence[FieldDescriptorProto.Label.ValueType]:
    return (ONE, MANY, REQUIRED) if file.syntax in ("", "proto2") else (ONE, MANY)


def _message(draw: st.DrawFn, file: FileDescriptorProto) -> DescriptorProto:
    return draw(st.sampled_from(list(file.message_type)))


def _field(draw: st.DrawFn, file: FileDescriptorProto) -> FieldDescriptorProto:
    return draw(st.sampled_from([field for message in file.message_type for field in message.field]))


def _enum(draw: st.DrawFn, file: FileDescriptorProto) -> EnumDescriptorProto:
    return draw(st.sampled_from([*file.enum_type, *file.message_type[0].enum_type]))


def _rename_field(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    message = _message(draw, file)
    field = draw(st.sampled_from(list(message.field)))
    for entry in message.nested_type:  # the entries of a map are named after it
        if field.type_name.endswith(f".{message.name}.{entry.name}"):
            entry.name = entry_name(f"{field.name}_2")
            field.type_name = f".{file.package}.{message.name}.{entry.name}"
    if field.proto3_optional:  # as is the oneof that protoc invents
        message.oneof_decl[field.oneof_index].name = oneof_of_optional(f"{field.name}_2")
    field.name = f"{field.name}_2"
    if draw(st.booleans()):
        field.ClearField("json_name")


def _json_name(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    field = _field(draw, file)
    field.json_name = f"{field.json_name}_x"


def _renumber(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    _field(draw, file).number = draw(st.integers(100, 110))


def _delete_field(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    message = _message(draw, file)
    if len(message.field) > 1:
        field = message.field.pop(draw(st.integers(0, len(message.field) - 1)))
        if draw(st.booleans()):
            message.reserved_range.add(start=field.number, end=field.number + 1)
        if draw(st.booleans()):
            message.reserved_name.append(field.name)


def _add_field(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    label = draw(st.sampled_from(_labels(file)))
    _message(draw, file).field.add(
        name=f"new_{draw(st.integers(0, 99))}", number=draw(st.integers(200, 300)), label=label,
        type=draw(st.sampled_from(SCALAR_TYPES)),
    )  # fmt: skip


def _retype(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    field = _field(draw, file)
    field.ClearField("default_value")
    enum = draw(st.sampled_from((*SCALAR_TYPES, F.TYPE_ENUM, F.TYPE_ENUM, F.TYPE_MESSAGE)))
    field.type = enum
    field.ClearField("type_name")
    if enum == F.TYPE_ENUM:
        field.type_name = draw(st.sampled_from((".random.v1.Color", ".random.v1.Message0.Color")))
    elif enum == F.TYPE_MESSAGE:
        field.type_name = f".random.v1.{_message(draw, file).name}"


def _retype_entry(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    entries = [nested for message in file.message_type for nested in message.nested_type]
    if entries:
        field = draw(st.sampled_from(entries)).field[draw(st.integers(0, 1))]
        field.ClearField("type_name")
        field.type = draw(st.sampled_from(KEY_TYPES))


def _relabel(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    field = _field(draw, file)
    if not field.type_name.endswith("Entry"):
        field.ClearField("default_value")
        field.label = draw(st.sampled_from(_labels(file)))


def _out_of_oneof(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    field = _field(draw, file)
    if not field.proto3_optional:
        field.ClearField("oneof_index")


def _into_oneof(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    message = _message(draw, file)
    if message.field:
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        draw(st.sampled_from(list(message.field))).oneof_index = 0


def _rename_oneof(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    message = _message(draw, file)
    if message.oneof_decl and message.oneof_decl[0].name == "choice":
        message.oneof_decl[0].name = "selection"


def _default(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    _set_default(draw, _field(draw, file))


def _set_default(draw: st.DrawFn, field: FieldDescriptorProto) -> None:
    if field.label == ONE and field.type != F.TYPE_MESSAGE and field.type_name != ".google.protobuf.NullValue":
        field.default_value = draw(st.sampled_from(_DEFAULTS.get(field.type, ("0", "1", "2"))))


def _reserve_less(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    owners: list[DescriptorProto | EnumDescriptorProto] = [*file.message_type, *file.enum_type]
    owner = draw(st.sampled_from(owners))
    if draw(st.booleans()) and owner.reserved_name:
        owner.reserved_name.pop()
    elif owner.reserved_range:
        owner.reserved_range[0].start += draw(st.integers(0, 3))
        owner.reserved_range[0].end -= draw(st.integers(0, 3))


def _reserve_in_pieces(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    message = _message(draw, file)
    if message.reserved_range:
        end = message.reserved_range[0].end
        message.reserved_range[0].end = 55
        message.reserved_range.add(start=55 + draw(st.integers(0, 1)), end=end)


def _rename_value(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    value = draw(st.sampled_from(list(_enum(draw, file).value)))
    value.name = f"{value.name}_2"


def _delete_value(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    enum = _enum(draw, file)
    if len(enum.value) > 1:
        value = enum.value.pop(draw(st.integers(1, len(enum.value) - 1)))
        if draw(st.booleans()) and all(value.number != other.number for other in enum.value):
            enum.reserved_range.add(start=value.number, end=value.number)
        if draw(st.booleans()):
            enum.reserved_name.append(value.name)
        _tell_aliases(enum)


def _tell_aliases(enum: EnumDescriptorProto) -> None:
    if len({value.number for value in enum.value}) == len(enum.value):
        enum.options.ClearField("allow_alias")
    else:
        enum.options.allow_alias = True


def _add_value(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    enum = _enum(draw, file)
    enum.value.add(name=f"COLOR_NEW_{draw(st.integers(0, 99))}", number=draw(st.sampled_from((0, 1, 5, 77))))
    _tell_aliases(enum)


def _json_format(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    if file.syntax == "editions":
        message, enum = _message(draw, file), _enum(draw, file)
        features = draw(st.sampled_from((file.options.features, message.options.features, enum.options.features)))
        features.json_format = draw(st.sampled_from((FeatureSet.ALLOW, FeatureSet.LEGACY_BEST_EFFORT)))


def _feature(draw: st.DrawFn, file: FileDescriptorProto) -> None:
    if file.syntax == "editions":
        field = _field(draw, file)
        if field.type == F.TYPE_MESSAGE:
            field.options.features.message_encoding = FeatureSet.DELIMITED
        elif field.label == ONE and not field.HasField("oneof_index"):
            field.options.features.field_presence = FeatureSet.LEGACY_REQUIRED


def _swap_response(_: st.DrawFn, file: FileDescriptorProto) -> None:
    file.message_type.reverse()


MUTATIONS: Sequence[Mutation] = (
    _rename_field, _json_name, _renumber, _delete_field, _delete_field, _add_field, _retype, _retype, _retype_entry,
    _relabel, _out_of_oneof, _into_oneof, _rename_oneof, _default, _reserve_less, _reserve_in_pieces, _rename_value,
    _delete_value, _delete_value, _add_value, _json_format, _feature, _swap_response,
)  # fmt: skip
