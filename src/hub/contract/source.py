"""A contract as the text of `.proto` files, which protobuf's Python library cannot print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, final

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
    MessageOptions,
    OneofOptions,
)
from google.protobuf.message import Message

from hub.contract.contract import Contract
from hub.contract.descriptors.canonical import default_json_name
from hub.contract.descriptors.rule_options import rules_in

EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
_STEP: Final = "  "
_LAST_FIELD: Final = 2**29
_LAST_VALUE: Final = 2**31 - 1
_OF_PROTOBUF: Final = "google.protobuf"
_QUOTED: Final = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BYTES)


def proto_source(contract: Contract, comments: Mapping[str, str] = EMPTY) -> Mapping[str, str]:
    """The text of each file of a contract by its name, without those of protobuf itself.

    They compile to the same contract, unless it has an `Any`, for which a contract keeps files without references to them.
    Services and options other than rules are not part of a contract, so they are not in the text. Comments are beside it.

    Args:
        contract: The contract.
        comments: Comments by full name; see `hub.contract.comments`.
    """
    files = FileDescriptorSet.FromString(contract.files).file
    return {file.name: _Source(file, comments).text() for file in files if file.package != _OF_PROTOBUF}


@final
class _Source:
    """One file. Its methods yield lines without indentation; `_block` indents."""

    def __init__(self, file: FileDescriptorProto, comments: Mapping[str, str]) -> None:
        self._file = file
        self._comments = comments
        self._labelled = file.syntax in ("", "proto2")
        self._names = set(_simple_names(file.message_type, file.enum_type))

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        file = self._file
        yield from self._comment(file.name)
        if file.syntax == "editions":
            yield f'edition = "{Edition.Name(file.edition).removeprefix("EDITION_")}";'
        else:
            yield f'syntax = "{file.syntax or "proto2"}";'
        if file.package:
            yield from ("", f"package {file.package};")
        imports = [*file.dependency]
        if any(map(_has_rules, file.message_type)):
            imports.append("buf/validate/validate.proto")
        if imports:
            yield from ("", *(f'import "{name}";' for name in imports))
        if features := _features(file.options.features):
            yield from ("", *(f"option {feature};" for feature in features))
        scope = f"{file.package}." if file.package else ""
        for message in file.message_type:
            yield from ("", *self._message(message, scope))
        for enum in file.enum_type:
            yield from ("", *self._enum(enum, scope))
        for extension in file.extension:
            yield from ("", *self._extension(extension))

    def _comment(self, name: str) -> Iterator[str]:
        text = self._comments.get(name, "")
        yield from (f"// {line}".rstrip() for line in text.splitlines())

    def _message(self, message: DescriptorProto, scope: str) -> Iterator[str]:
        name = f"{scope}{message.name}"
        yield from self._comment(name)
        yield from _block(f"message {message.name}", self._body(message, f"{name}."))

    def _body(self, message: DescriptorProto, scope: str) -> Iterator[str]:
        """The text between the braces of a message. Members of a oneof are printed where the first of them is declared."""
        yield from (f"option {feature};" for feature in _features(message.options.features))
        if message.options.message_set_wire_format:
            yield "option message_set_wire_format = true;"
        yield from _option("message", message.options)
        inner = {f".{nested.name}": nested for nested in message.nested_type}
        groups = {field.type_name for field in message.field if field.type == FieldDescriptorProto.TYPE_GROUP}
        for nested in message.nested_type:
            if not nested.options.map_entry and not any(
                name.endswith(f".{message.name}.{nested.name}") for name in groups
            ):
                yield from self._message(nested, scope)
        for enum in message.enum_type:
            yield from self._enum(enum, scope)
        printed: set[int] = set()
        for field in message.field:
            nested_type = inner.get(f".{field.type_name.rpartition('.')[2]}")
            if not field.HasField("oneof_index") or field.proto3_optional:
                yield from self._field(field, nested_type, scope, label=self._label(field))
            elif field.oneof_index not in printed:
                printed.add(field.oneof_index)
                oneof = message.oneof_decl[field.oneof_index]
                members = [each for each in message.field if each.oneof_index == field.oneof_index]
                options = [f"option {feature};" for feature in _features(oneof.options.features)]
                options.extend(_option("oneof", oneof.options))
                fields = (
                    line
                    for each in members
                    if each.HasField("oneof_index")
                    for line in self._field(each, inner.get(f".{each.type_name.rpartition('.')[2]}"), scope, label="")
                )
                yield from self._comment(f"{scope}{oneof.name}")
                yield from _block(f"oneof {oneof.name}", (*options, *fields))
        for extension_range in message.extension_range:
            yield f"extensions {_range(extension_range.start, extension_range.end - 1, _LAST_FIELD - 1)};"
        for extension in message.extension:
            yield from self._extension(extension)
        reserved = [_range(each.start, each.end - 1, _LAST_FIELD - 1) for each in message.reserved_range]
        yield from self._reserved(reserved, message.reserved_name)

    def _enum(self, enum: EnumDescriptorProto, scope: str) -> Iterator[str]:
        name = f"{scope}{enum.name}"
        yield from self._comment(name)
        lines = [f"option {feature};" for feature in _features(enum.options.features)]
        if enum.options.allow_alias:
            lines.append("option allow_alias = true;")
        for value in enum.value:
            lines.extend((*self._comment(f"{name}.{value.name}"), f"{value.name} = {value.number};"))
        lines.extend(
            self._reserved(
                [_range(each.start, each.end, _LAST_VALUE) for each in enum.reserved_range], enum.reserved_name
            )
        )
        yield from _block(f"enum {enum.name}", lines)

    def _extension(self, extension: FieldDescriptorProto) -> Iterator[str]:
        fields = self._field(extension, None, "", label=self._label(extension))
        yield from _block(f"extend {self._type(extension.extendee)}", fields)

    def _field(
        self, field: FieldDescriptorProto, nested: DescriptorProto | None, scope: str, *, label: str
    ) -> Iterator[str]:
        yield from self._comment(f"{scope}{field.name}")
        options = list(_features(field.options.features))
        if field.json_name and field.json_name != default_json_name(field.name):
            options.append(f"json_name = {json.dumps(field.json_name)}")
        if field.HasField("default_value"):
            options.append(f"default = {_default(field)}")
        if field.options.HasField("packed"):
            options.append(f"packed = {json.dumps(field.options.packed)}")
        if (rules := rules_in(field.options)) is not None:
            options.append(f"(buf.validate.field) = {_literal(rules)}")
        suffix = f" [{', '.join(options)}]" if options else ""
        if nested is not None and nested.options.map_entry:
            key, value = (self._named_type(each) for each in nested.field)
            yield f"map<{key}, {value}> {field.name} = {field.number}{suffix};"
        elif nested is not None and field.type == FieldDescriptorProto.TYPE_GROUP:
            yield from _block(
                f"{label}group {nested.name} = {field.number}{suffix}", self._body(nested, f"{scope}{nested.name}.")
            )
        else:
            yield f"{label}{self._named_type(field)} {field.name} = {field.number}{suffix};"

    def _label(self, field: FieldDescriptorProto) -> str:
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return "repeated "
        if field.label == FieldDescriptorProto.LABEL_REQUIRED:
            return "required "
        return "optional " if self._labelled or field.proto3_optional else ""

    def _named_type(self, field: FieldDescriptorProto) -> str:
        if field.type_name:
            return self._type(field.type_name)
        return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()

    def _type(self, name: str) -> str:
        """`name` without its leading dot, unless a declaration of this file has the name of its first part."""
        return name if name[1:].partition(".")[0] in self._names else name[1:]

    def _reserved(self, ranges: Sequence[str], names: Iterable[str]) -> Iterator[str]:
        if ranges:
            yield f"reserved {', '.join(ranges)};"
        if names := list(names):
            # Editions reserve identifiers, the older syntaxes strings.
            yield f"reserved {', '.join(names if self._file.syntax == 'editions' else map(json.dumps, names))};"


def _block(head: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"{head} {{"
    yield from (_STEP + line for line in lines)
    yield "}"


def _range(first: int, last: int, end: int) -> str:
    return str(first) if first == last else f"{first} to {'max' if last == end else last}"


def _default(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_STRING:
        return json.dumps(field.default_value, ensure_ascii=False)
    return f'"{field.default_value}"' if field.type in _QUOTED else field.default_value


def _has_rules(message: DescriptorProto) -> bool:
    declared: Iterable[MessageOptions | OneofOptions | FieldOptions] = (
        message.options,
        *(oneof.options for oneof in message.oneof_decl),
        *(field.options for field in (*message.field, *message.extension)),
    )
    return any(rules_in(options) is not None for options in declared) or any(map(_has_rules, message.nested_type))


def _option(kind: str, options: MessageOptions | OneofOptions) -> Iterator[str]:
    rules = rules_in(options)
    if rules is not None:
        yield f"option (buf.validate.{kind}) = {_literal(rules)};"


def _literal(rules: Message) -> str:
    """Rules as the value of an option."""
    return f"{{{text_format.MessageToString(rules, as_one_line=True).strip()}}}"


def _features(features: FeatureSet) -> Sequence[str]:
    return [
        f"features.{feature.name} = {feature.enum_type.values_by_number[value].name}"
        for feature, value in features.ListFields()
        if feature.enum_type is not None
    ]


def _simple_names(messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto]) -> Iterator[str]:
    yield from (enum.name for enum in enums)
    for message in messages:
        yield message.name
        yield from _simple_names(message.nested_type, message.enum_type)
