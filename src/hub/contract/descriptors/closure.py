"""The canonical closure of messages: all declarations that they refer to, with only what decides the wire or JSON form.

The closure of the same messages always has the same bytes: from generated code or a descriptor set, with or without
source info and explicit JSON names, in any order, and with any other declarations in the same files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from hub.contract.descriptors.canonical import canonical_file
from hub.contract.descriptors.rule_options import PACKAGE
from hub.contract.descriptors.well_known import ANY

_Type = Descriptor | EnumDescriptor

_WHOLE_FILES: Final = frozenset({ANY})
"""A field of these types may contain any message of the files, so none can be left out."""


def files_of(messages: Iterable[Descriptor], without: Collection[str] = ()) -> list[FileDescriptor]:
    """The files that declare `messages`, with all their imports; dependencies first, in a fixed order.

    Args:
        messages: The messages.
        without: Names of imports that are left out, with what only these import.
    """
    ordered: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name not in ordered:
            for dependency in sorted(file.dependencies, key=_file_name):
                if dependency.name not in without:
                    visit(dependency)
            ordered[file.name] = file

    for file in sorted({message.file.name: message.file for message in messages}.values(), key=_file_name):
        visit(file)
    return list(ordered.values())


def messages_of(files: Iterable[FileDescriptor]) -> dict[str, Descriptor]:
    """Every message of `files` by its full name, without the entries of maps."""
    found: dict[str, Descriptor] = {}

    def visit(message: Descriptor) -> None:
        if not message.GetOptions().map_entry:
            found[message.full_name] = message
            for nested in message.nested_types:
                visit(nested)

    for file in files:
        for message in file.message_types_by_name.values():
            visit(message)
    return found


def descriptor_closure(messages: Iterable[Descriptor]) -> FileDescriptorSet:
    """The canonical closure of `messages`.

    A top-level message is part of it as a whole if there is a reference to it or to a declaration in it. If an `Any` can
    occur, whole files are.
    """
    roots = list(messages)
    files = files_of(roots)
    kept = _reachable(roots, files)
    if kept.keys() & _WHOLE_FILES:
        used = {top.file.name for top in kept.values()}
        # Declares only options, unless there is a reference to one of its messages.
        options = [file.name for file in files if file.package == PACKAGE and file.name not in used]
        files = files_of(roots, without=options)
        kept = {top.full_name: top for file in files for top in _tops(file)}
    closure = FileDescriptorSet()
    wanted = {top.file.name for top in kept.values()}
    home = {name: top.file.name for name, top in kept.items()}
    for file in files:
        if file.name in wanted:
            proto = FileDescriptorProto()
            file.CopyToProto(proto)
            closure.file.append(canonical_file(proto, kept.keys(), home))
    return closure


def _reachable(roots: Iterable[Descriptor], files: Iterable[FileDescriptor]) -> dict[str, _Type]:
    """Top-level messages and enums that `roots` refer to, directly or not, by full name."""
    extensions: dict[str, list[_Type]] = {}
    for file in files:
        for extension in file.extensions_by_name.values():
            value_type = extension.message_type or extension.enum_type
            if value_type is not None:
                extensions.setdefault(_top(_extended(extension)).full_name, []).append(value_type)
    found: dict[str, _Type] = {}
    waiting: list[_Type] = list(roots)
    while waiting:
        top = _top(waiting.pop())
        if top.full_name in found:
            continue
        found[top.full_name] = top
        if isinstance(top, Descriptor):
            waiting.extend(_field_types(top))
        waiting.extend(extensions.get(top.full_name, ()))
    return found


def _field_types(message: Descriptor) -> Iterator[_Type]:
    for field in (*message.fields, *message.extensions):
        value_type = field.message_type or field.enum_type
        if value_type is not None:
            yield value_type
    for extension in message.extensions:
        yield _extended(extension)
    for nested in message.nested_types:
        yield from _field_types(nested)


def _extended(extension: FieldDescriptor) -> Descriptor:
    extended = extension.containing_type
    if extended is None:
        raise AssertionError("every extension extends a message")
    return extended


def _tops(file: FileDescriptor) -> Iterator[_Type]:
    yield from file.message_types_by_name.values()
    yield from file.enum_types_by_name.values()


def _top(declared: _Type) -> _Type:
    while declared.containing_type is not None:
        declared = declared.containing_type
    return declared


def _file_name(file: FileDescriptor) -> str:
    return file.name
