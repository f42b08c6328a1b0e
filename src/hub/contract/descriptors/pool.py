"""Descriptors out of untrusted files, always in a pool of their own."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from hub.contract.descriptors.bounds import check_size
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
    # A stack of our own: the depth of an import chain is the sender's choice.
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
