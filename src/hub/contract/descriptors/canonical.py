"""One file of a contract in canonical form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, TypeVar, cast

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumOptions,
    FeatureSet,
    FieldDescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
    FileOptions,
    MessageOptions,
    OneofOptions,
)

from hub.contract.descriptors.rule_options import copy_rules

_Named = TypeVar("_Named", DescriptorProto, EnumDescriptorProto)

_FLOATING = (FieldDescriptorProto.TYPE_DOUBLE, FieldDescriptorProto.TYPE_FLOAT)


def canonical_file(file: FileDescriptorProto, kept: Collection[str], home: Mapping[str, str]) -> FileDescriptorProto:
    """A copy of `file` with only what decides the wire and the JSON form, and which values are valid (`buf.validate`).

    Comments, services, unused imports and options for code generators are left out; declarations have a fixed order; JSON
    names are always explicit. Reserved names and numbers are kept: they decide neither form, but whether a later contract
    may remove a declaration (`without_reservations` removes them).

    Args:
        file: As a pool returns it, with full type names.
        kept: Full names of the top-level messages and enums to keep.
        home: The file of each of them.
    """
    canonical = FileDescriptorProto(name=file.name, package=file.package)
    if file.syntax not in ("", "proto2"):
        canonical.syntax = file.syntax
    if file.HasField("edition"):
        canonical.edition = file.edition
    _copy_features(file.options.features, canonical.options)
    scope = f"{file.package}." if file.package else ""
    canonical.message_type.extend(
        _message(message) for message in _sorted(file.message_type) if scope + message.name in kept
    )
    canonical.enum_type.extend(_enum(enum) for enum in _sorted(file.enum_type) if scope + enum.name in kept)
    canonical.extension.extend(
        _field(extension, {})
        for extension in sorted(file.extension, key=lambda each: (each.extendee, each.number))
        if _top_of(extension.extendee, kept) is not None
    )
    canonical.dependency.extend(sorted(_imports(canonical, kept, home)))
    return canonical


def _message(message: DescriptorProto) -> DescriptorProto:
    canonical = DescriptorProto(name=message.name)
    synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
    # protoc requires the synthetic oneofs of `optional` fields to be last.
    order = sorted(
        range(len(message.oneof_decl)), key=lambda index: (index in synthetic, message.oneof_decl[index].name)
    )
    moved = {old: new for new, old in enumerate(order)}
    for index in order:
        oneof = canonical.oneof_decl.add(name=message.oneof_decl[index].name)
        _copy_features(message.oneof_decl[index].options.features, oneof.options)
        copy_rules(message.oneof_decl[index].options, oneof.options)
    canonical.field.extend(_field(field, moved) for field in sorted(message.field, key=attrgetter("number")))
    canonical.extension.extend(
        _field(field, {}) for field in sorted(message.extension, key=attrgetter("extendee", "number"))
    )
    canonical.nested_type.extend(_message(nested) for nested in _sorted(message.nested_type))
    canonical.enum_type.extend(_enum(enum) for enum in _sorted(message.enum_type))
    for extension_range in sorted(message.extension_range, key=attrgetter("start")):
        canonical.extension_range.add(start=extension_range.start, end=extension_range.end)
    if message.options.map_entry:
        canonical.options.map_entry = True
    if message.options.message_set_wire_format:
        canonical.options.message_set_wire_format = True
    _copy_features(message.options.features, canonical.options)
    copy_rules(message.options, canonical.options)
    for reserved in sorted(message.reserved_range, key=attrgetter("start", "end")):
        canonical.reserved_range.add(start=reserved.start, end=reserved.end)
    canonical.reserved_name.extend(sorted(message.reserved_name))
    return canonical


def _field(field: FieldDescriptorProto, oneofs: Mapping[int, int]) -> FieldDescriptorProto:
    canonical = FieldDescriptorProto(
        name=field.name,
        number=field.number,
        label=field.label,
        type=field.type,
        json_name=field.json_name or default_json_name(field.name),
    )
    if field.type_name:
        canonical.type_name = field.type_name
    if field.extendee:
        canonical.extendee = field.extendee
        canonical.ClearField("json_name")
    if field.HasField("default_value"):
        canonical.default_value = repr(float(field.default_value)) if field.type in _FLOATING else field.default_value
    if field.HasField("oneof_index"):
        canonical.oneof_index = oneofs[field.oneof_index]
    if field.proto3_optional:
        canonical.proto3_optional = True
    if field.options.HasField("packed"):
        canonical.options.packed = field.options.packed
    _copy_features(field.options.features, canonical.options)
    copy_rules(field.options, canonical.options)
    return canonical


def _enum(enum: EnumDescriptorProto) -> EnumDescriptorProto:
    canonical = EnumDescriptorProto(name=enum.name)
    # The first value is the default of a closed enum; among aliases the first one names the number.
    first, *others = enum.value
    for value in (first, *sorted(others, key=attrgetter("number"))):
        canonical.value.add(name=value.name, number=value.number)
    if enum.options.allow_alias:
        canonical.options.allow_alias = True
    _copy_features(enum.options.features, canonical.options)
    for reserved in sorted(enum.reserved_range, key=attrgetter("start", "end")):
        canonical.reserved_range.add(start=reserved.start, end=reserved.end)
    canonical.reserved_name.extend(sorted(enum.reserved_name))
    return canonical


def without_reservations(files: FileDescriptorSet) -> FileDescriptorSet:
    """A copy of `files` without reservations: only what decides the wire and the JSON form."""
    bare = FileDescriptorSet()
    bare.CopyFrom(files)
    for file in bare.file:
        _release(file.message_type, file.enum_type)
    return bare


def group_oneofs(messages: Iterable[DescriptorProto]) -> None:
    """Moves the members of each oneof next to its first one.

    A canonical file has fields in the order of their numbers. Go's protobuf, and so buf, refuses a descriptor with other
    fields between the members of a oneof.
    """
    for message in messages:
        first = {field.oneof_index: field.number for field in reversed(message.field) if field.HasField("oneof_index")}
        message.field.sort(
            key=lambda field: first[field.oneof_index] if field.HasField("oneof_index") else field.number
        )
        group_oneofs(message.nested_type)


def _release(messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto]) -> None:
    for declared in (*messages, *enums):
        declared.ClearField("reserved_range")
        declared.ClearField("reserved_name")
    for message in messages:
        _release(message.nested_type, message.enum_type)


def _copy_features(
    features: FeatureSet, options: FileOptions | MessageOptions | FieldOptions | OneofOptions | EnumOptions
) -> None:
    """Copies all features but those of single languages (`pb.cpp`, `pb.java`), which may be extensions or unknown fields."""
    plain = FeatureSet()
    plain.CopyFrom(features)
    plain.DiscardUnknownFields()
    for field, _ in features.ListFields():
        if field.is_extension:
            # The stubs expect the extension's handle; at run time the descriptor is accepted.
            plain.ClearExtension(cast("Any", field))
    if plain.ByteSize():
        options.features.CopyFrom(plain)


def _imports(file: FileDescriptorProto, kept: Collection[str], home: Mapping[str, str]) -> set[str]:
    tops = {_top_of(name, kept) for name in _references(file)}
    return {home[top] for top in tops if top is not None} - {file.name}


def _references(file: FileDescriptorProto) -> Iterator[str]:
    for extension in file.extension:
        yield from (extension.type_name, extension.extendee)
    for message in file.message_type:
        yield from _message_references(message)


def _message_references(message: DescriptorProto) -> Iterator[str]:
    for field in (*message.field, *message.extension):
        yield from (field.type_name, field.extendee)
    for nested in message.nested_type:
        yield from _message_references(nested)


def _top_of(type_name: str, kept: Collection[str]) -> str | None:
    """The kept top-level declaration that `type_name` (with its leading dot) is, or is declared in."""
    name = type_name.removeprefix(".")
    while name:
        if name in kept:
            return name
        name = name.rpartition(".")[0]
    return None


def default_json_name(name: str) -> str:
    """The JSON name that protoc gives to a field: underscores are removed, and the letter after one is capitalized."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def _sorted(declarations: Iterable[_Named]) -> list[_Named]:
    return sorted(declarations, key=attrgetter("name"))
