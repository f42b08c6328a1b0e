"""The declarations of a contract by name and number, with those that descriptors lack: reservations and JSON support."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from hub.contract.compiled import compile_contract
from hub.contract.contract import Contract

_JsonFormat: TypeAlias = FeatureSet.JsonFormat.ValueType


@dataclass(frozen=True, slots=True)
class DeclaredMessage:
    """A message, or the entries of a map.

    Attributes:
        path: Its full name; of the entries of a map, the full name of that field.
        reserved: The numbers that it reserves, each range without its end.
        json_allowed: Whether it is declared to have a JSON form (`json_format = ALLOW`).
        required: Numbers of the fields that are declared with `required`, which only proto2 has.
    """

    path: str
    descriptor: Descriptor
    reserved: tuple[range, ...]
    reserved_names: frozenset[str]
    json_allowed: bool
    required: frozenset[int]

    @property
    def is_map_entry(self) -> bool:
        return bool(self.descriptor.GetOptions().map_entry)

    @property
    def fields(self) -> Mapping[int, FieldDescriptor]:
        """The fields by number, without extensions."""
        return {field.number: field for field in self.descriptor.fields}


@dataclass(frozen=True, slots=True)
class DeclaredEnum:
    """An enum; for attributes see `DeclaredMessage`."""

    path: str
    descriptor: EnumDescriptor
    reserved: tuple[range, ...]
    reserved_names: frozenset[str]
    json_allowed: bool

    @property
    def names(self) -> Mapping[int, frozenset[str]]:
        """The names of each number; aliases make it more than one."""
        names: dict[int, set[str]] = {}
        for value in self.descriptor.values:
            names.setdefault(value.number, set()).add(value.name)
        return {number: frozenset(of_number) for number, of_number in names.items()}


@final
class Declarations:
    """All declarations in the files of a contract.

    Attributes:
        contract: The contract.
        packages: The package of each file.
        messages: Messages and map entries by full name.
        enums: Enums by full name.
        extensions: Extensions by the full name of the extended message, and their number.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract
        self.packages: Final[dict[str, str]] = {}
        self.messages: Final[dict[str, DeclaredMessage]] = {}
        self.enums: Final[dict[str, DeclaredEnum]] = {}
        self.extensions: Final[dict[tuple[str, int], FieldDescriptor]] = {}
        self._pool = compile_contract(contract).pool
        for file in FileDescriptorSet.FromString(contract.files).file:
            self._file(file)

    def _file(self, file: FileDescriptorProto) -> None:
        self.packages[file.name] = file.package
        legacy = file.syntax in ("", "proto2")
        json_format = _json_format(file.options.features, FeatureSet.LEGACY_BEST_EFFORT if legacy else FeatureSet.ALLOW)
        scope = f"{file.package}." if file.package else ""
        self._enums(scope, file.enum_type, json_format)
        self._extensions(scope, file.extension)
        for message in file.message_type:
            self._message(scope + message.name, scope + message.name, message, json_format)

    def _message(self, name: str, path: str, message: DescriptorProto, inherited: _JsonFormat) -> None:
        json_format = _json_format(message.options.features, inherited)
        self.messages[name] = DeclaredMessage(
            path=path,
            descriptor=self._pool.FindMessageTypeByName(name),
            reserved=tuple(range(each.start, each.end) for each in message.reserved_range),
            reserved_names=frozenset(message.reserved_name),
            json_allowed=json_format == FeatureSet.ALLOW,
            required=frozenset(
                field.number for field in message.field if field.label == FieldDescriptorProto.LABEL_REQUIRED
            ),
        )
        self._enums(f"{name}.", message.enum_type, json_format)
        self._extensions(f"{name}.", message.extension)
        map_fields = {field.type_name: f"{name}.{field.name}" for field in message.field}
        for nested in message.nested_type:
            nested_name = f"{name}.{nested.name}"
            is_entry = nested.options.map_entry
            self._message(
                nested_name,
                map_fields.get(f".{nested_name}", nested_name) if is_entry else nested_name,
                nested,
                json_format,
            )

    def _enums(self, scope: str, enums: Iterable[EnumDescriptorProto], inherited: _JsonFormat) -> None:
        for enum in enums:
            name = scope + enum.name
            self.enums[name] = DeclaredEnum(
                path=name,
                descriptor=self._pool.FindEnumTypeByName(name),
                reserved=tuple(
                    range(each.start, each.end + 1) for each in enum.reserved_range
                ),  # its end belongs to it
                reserved_names=frozenset(enum.reserved_name),
                json_allowed=_json_format(enum.options.features, inherited) == FeatureSet.ALLOW,
            )

    def _extensions(self, scope: str, extensions: Iterable[FieldDescriptorProto]) -> None:
        for extension in extensions:
            key = extension.extendee.removeprefix("."), extension.number
            self.extensions[key] = self._pool.FindExtensionByName(scope + extension.name)


def _json_format(features: FeatureSet, inherited: _JsonFormat) -> _JsonFormat:
    return features.json_format if features.HasField("json_format") else inherited


def unreserved(number_range: range, reserved: Iterable[range]) -> Iterator[range]:
    """The parts of `number_range` that are in none of `reserved`."""
    start = number_range.start
    for each in sorted(reserved, key=lambda one: (one.start, one.stop)):
        if each.start >= number_range.stop:
            break
        if each.stop <= start:
            continue
        if each.start > start:
            yield range(start, each.start)
        start = each.stop
    if start < number_range.stop:
        yield range(start, number_range.stop)
