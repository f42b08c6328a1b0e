"""The messages of contracts as Python modules with stubs, made by protoc and mypy-protobuf from their descriptors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar, final

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.cli.generate.naming import MESSAGES, POOL_MODULE, ModelNames, file_names
from hub.cli.proto.compiler import ProtoErrors, generate_modules
from hub.client import ModelContract
from hub.contract.comments import declared_paths
from hub.contract.descriptors.pool import build_pool
from hub.contract.errors import InvalidContract
from hub.errors import ConfigurationError

_Declared = TypeVar("_Declared", DescriptorProto, EnumDescriptorProto)

_PACKAGE: Final = (2,)
_SYNTAX: Final = (12,)
"""Paths in source info whose comments are those of the file."""

_DEFAULT_POOL: Final = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
"""A line of protoc's output, once in each module."""

_UNFORMATTED: Final = "# fmt: off\n"
"""In front of the output of other generators: formatters leave the file as it is."""


@final
@dataclass(slots=True)
class MessageSet:
    """Files of one or more contracts that do not contradict each other.

    Attributes:
        folder: The folder of their modules in the package.
        files: By their names.
        comments: By full name, or name of a file.
    """

    folder: str
    files: dict[str, FileDescriptorProto] = field(default_factory=dict[str, FileDescriptorProto])
    comments: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, contract: ModelContract) -> bool:
        """Adds the files of a contract, unless they contradict those that are here; returns whether it did."""
        merged = dict(self.files)
        for file in FileDescriptorSet.FromString(contract.descriptors).file:
            known = merged.get(file.name)
            joined = file if known is None else _joined(known, file)
            if joined is None:
                return False
            merged[file.name] = joined
        if self.files and not _consistent(merged.values()):
            return False
        self.files, self.comments = merged, {**contract.comments, **self.comments}
        return True

    def place_of(self, message: str) -> tuple[str, str]:
        """The module of a message below `folder`, with dots, and the name of the message in it."""
        for name, safe in file_names(self.files).items():
            scope = f"{self.files[name].package}." if self.files[name].package else ""
            if message.startswith(scope):
                inner = message.removeprefix(scope)
                if any(top.name == inner.partition(".")[0] for top in self.files[name].message_type):
                    return safe.removesuffix(".proto").replace("/", ".") + "_pb2", inner
        raise InvalidContract(f"its files do not declare {message}")


def message_sets(contracts: Iterable[ModelContract], names: Mapping[str, ModelNames]) -> Mapping[str, MessageSet]:
    """The set of each model. Models share one, except those whose files contradict the ones of models before them."""
    shared = MessageSet(MESSAGES)
    found: dict[str, MessageSet] = {}
    for contract in sorted(contracts, key=lambda each: each.model):
        found[contract.model] = shared
        if not shared.add(contract):
            own = found[contract.model] = MessageSet(f"{MESSAGES}_of_{names[contract.model].module}")
            own.add(contract)
    return found


def message_modules(sets: Sequence[MessageSet], package: str) -> Mapping[str, bytes]:
    """The modules and stubs of all sets, by their paths in the package.

    Raises:
        InvalidContract: Files contradict each other, or protobuf's own types.
        ConfigurationError: A tool is missing, or refuses the files.
    """
    placed = [_placed(each, package) for each in sets]
    for files in placed:
        build_pool(files)
    with TemporaryDirectory(prefix="hub-client-") as folder:
        out = Path(folder)
        for files in placed:
            try:
                generate_modules(files, out)
            except ProtoErrors as error:
                raise ConfigurationError(f"protoc cannot use the contracts: {str(error).splitlines()[0]}") from error
        made = {
            path.relative_to(out / package).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted((out / package).rglob("*.py*"))
        }
    for name, stub in made.items():
        if name.endswith(".pyi"):
            made[name.removesuffix("i")] += _renamed_classes(stub)
    return {name: _adapted(name, text, package).encode() for name, text in made.items()}


def _joined(known: FileDescriptorProto, other: FileDescriptorProto) -> FileDescriptorProto | None:
    """One file with the declarations of both; `None` if they contradict each other.

    A contract has those top-level declarations of a file that it needs, as a whole.
    """
    if _head(known) != _head(other):
        return None
    messages = _union(known.message_type, other.message_type)
    enums = _union(known.enum_type, other.enum_type)
    extensions = {(each.extendee, each.number): each for each in (*known.extension, *other.extension)}
    if messages is None or enums is None:
        return None
    joined = _head(known)
    joined.dependency.extend(sorted({*known.dependency, *other.dependency}))
    joined.message_type.extend(messages)
    joined.enum_type.extend(enums)
    joined.extension.extend(extensions[key] for key in sorted(extensions))
    return joined


def _head(file: FileDescriptorProto) -> FileDescriptorProto:
    head = FileDescriptorProto()
    head.CopyFrom(file)
    for member in ("dependency", "message_type", "enum_type", "extension"):
        head.ClearField(member)
    return head


def _union(known: Iterable[_Declared], others: Iterable[_Declared]) -> list[_Declared] | None:
    found = {each.name: each for each in known}
    for other in others:
        if found.setdefault(other.name, other) != other:
            return None
    return [found[name] for name in sorted(found)]


def _consistent(files: Iterable[FileDescriptorProto]) -> bool:
    try:
        build_pool(FileDescriptorSet(file=files))
    except InvalidContract:
        return False
    return True


def _placed(messages: MessageSet, package: str) -> FileDescriptorSet:
    """The files with their comments, under names that put their modules into the package."""
    names = {name: f"{package}/{messages.folder}/{safe}" for name, safe in file_names(messages.files).items()}
    placed = FileDescriptorSet()
    for name in sorted(messages.files):
        file = placed.file.add()
        file.CopyFrom(messages.files[name])
        file.ClearField("source_code_info")
        _comment(file, _PACKAGE if file.package else _SYNTAX, messages.comments.get(name, ""))
        for declared, path in declared_paths(file):
            _comment(file, path, messages.comments.get(declared, ""))
        imports = sorted(names[each] for each in file.dependency)
        file.ClearField("dependency")
        file.dependency.extend(imports)
        file.name = names[name]
    return placed


def _comment(file: FileDescriptorProto, path: tuple[int, ...], text: str) -> None:
    if text:
        lines = "".join(f" {line}\n" for line in printable_lines(text))
        file.source_code_info.location.add(path=path, span=(0, 0, 0), leading_comments=lines)


def printable_lines(text: str) -> list[str]:
    """The lines of a comment, without characters that are not printable."""
    lines = text.expandtabs(4).split("\n")
    return ["".join(letter for letter in line if letter.isprintable()).rstrip() for line in lines]


def _adapted(name: str, text: str, package: str) -> str:
    """A module whose descriptors are in the pool of its set, or a stub in which no name is declared twice."""
    if name.endswith(".pyi"):
        return _UNFORMATTED + _without_repeated_numbers(text)
    before, found, after = text.partition(_DEFAULT_POOL)
    if not found:
        raise ConfigurationError(
            "protoc writes modules of an unknown form: install the grpcio-tools of hub-serving[proto]"
        )
    folder = name.partition("/")[0]
    return f"{_UNFORMATTED}{before}from {package}.{folder} import {POOL_MODULE} as _descriptor_pool\n{after}"


def _renamed_classes(stub: str) -> str:
    """Statements for messages that are keywords of Python: they have another name in the stub, and so in the module."""
    return "".join(f"_r_{name} = _globals['{name}']\n" for name in re.findall(r"^class _r_(\w+)\(", stub, re.MULTILINE))


def _without_repeated_numbers(stub: str) -> str:
    """A stub without the second constant of two fields whose names differ only in case."""
    lines: list[str] = []
    numbers = set[str]()
    for line in stub.splitlines(keepends=True):
        if "_FIELD_NUMBER: " not in line:
            numbers.clear()
        elif line in numbers:
            continue
        else:
            numbers.add(line)
        lines.append(line)
    return "".join(lines)
