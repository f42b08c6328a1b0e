"""Pools and message classes of untrusted descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.reflection import GeneratedProtocolMessageType

from hub.contract.descriptors.limits import check_size
from hub.contract.descriptors.well_known import differing_well_known_type
from hub.contract.errors import InvalidContract


def build_pool(files: FileDescriptorSet) -> DescriptorPool:
    """Builds a private pool; the files may come in any order.

    Raises:
        InvalidContract: A file is missing or given twice, two files contradict each other, a limit is exceeded, or a
            well-known type is not what protobuf defines.
    """
    check_size(files)
    pool = DescriptorPool()
    for file in _dependencies_first(files):
        if (name := differing_well_known_type(file)) is not None:
            raise InvalidContract(f"{name} in {file.name!r} is not protobuf's own definition of it")
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as error:
            raise InvalidContract(f"{file.name!r} cannot be used: {error}") from error
    return pool


def _dependencies_first(files: FileDescriptorSet) -> list[FileDescriptorProto]:
    by_name: dict[str, FileDescriptorProto] = {}
    for file in files.file:
        if file.name in by_name:
            raise InvalidContract(f"file {file.name!r} is given twice")
        by_name[file.name] = file
    ordered: dict[str, FileDescriptorProto] = {}
    open_names: set[str] = set()
    # An explicit stack, because the sender decides the depth of an import chain.
    stack = [(name, False) for name in reversed(by_name)]
    while stack:
        name, complete = stack.pop()
        if name in ordered:
            continue
        file = by_name[name]
        if complete:
            ordered[name] = file
            open_names.discard(name)
            continue
        open_names.add(name)
        stack.append((name, True))
        for dependency in file.dependency:
            if dependency in open_names:
                raise InvalidContract(f"{name!r} and {dependency!r} import each other")
            if dependency not in by_name:
                raise InvalidContract(f"{name!r} imports {dependency!r}, which is missing: add it (--include_imports)")
            stack.append((dependency, False))
    return list(ordered.values())


def message_classes(messages: Iterable[Descriptor]) -> Sequence[type[Message]]:
    """The classes of `messages` and of every message that they can contain, made without recursion.

    protobuf's `GetMessageClass` is recursive and fails at about 330 nested messages. It returns the classes that are made
    here as long as the result of this function is referenced: protobuf itself has only weak references to them.
    """
    found: dict[str, type[Message]] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name in found:
            continue
        made = GeneratedProtocolMessageType(message.name, (Message,), {"DESCRIPTOR": message, "__module__": None})
        found[message.full_name] = cast("type[Message]", made)  # the metaclass makes subclasses of Message
        fields = [*message.fields, *message.extensions]
        if message.is_extendable:
            fields.extend(message.file.pool.FindAllExtensions(message))
        for field in fields:
            waiting.extend(each for each in (field.message_type, field.containing_type) if each is not None)
    return [*found.values()]
