"""Comments of `.proto` files: beside a contract, and not part of it.

protoc's Python output has no comments, so `hub proto build` writes them beside each module, with the name of the module and
the suffix `.comments.json`: an object with a comment for each name, whose changes can be read in a review.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from hub.contract.descriptors.closure import files_of

Comments: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of a full name and its comment, sorted. The name of a value is `<full name of the enum>.<value>`, that of a file
its own name."""

SUFFIX: Final = ".comments.json"
"""Suffix of the comments beside a module."""

MAX_COMMENT: Final = 2000
"""Characters of one comment; the rest is cut."""

MAX_COMMENTS: Final = 32_768
"""Characters of all names and comments of a contract: they are part of every list of models."""

_PACKAGE: Final = 2
_MESSAGE: Final = 4
_ENUM: Final = 5
_SYNTAX: Final = 12
_EDITION: Final = 14
_FIELD_OF_MESSAGE: Final = 2
_MESSAGE_OF_MESSAGE: Final = 3
_ENUM_OF_MESSAGE: Final = 4
_ONEOF_OF_MESSAGE: Final = 8
_VALUE_OF_ENUM: Final = 2
"""Field numbers in `descriptor.proto`, of which the paths in source info consist."""


def comments_of(file: FileDescriptorProto) -> Mapping[str, str]:
    """The comments in the source info of a file, by the full name of what they are about."""
    texts = {
        tuple(location.path): _text(location.leading_comments or location.trailing_comments)
        for location in file.source_code_info.location
    }
    # The comment on the package is that of the file; otherwise the one at its start.
    first = next((text for path in ((_PACKAGE,), (_SYNTAX,), (_EDITION,)) if (text := texts.get(path))), "")
    named = {file.name: first} | {name: texts.get(path, "") for name, path in declared_paths(file)}
    return {name: text for name, text in named.items() if text}


def encoded_comments(file: FileDescriptorProto) -> bytes:
    """What belongs beside the module of a file, whose source info has the comments."""
    return msgspec.json.format(msgspec.json.encode(comments_of(file), order="sorted"), indent=2) + b"\n"


def comments_beside(messages: Iterable[Descriptor]) -> tuple[Comments, Sequence[str]]:
    """The comments that are beside the loaded modules of `messages` and of all files that these import.

    Blocks for as long as reading these files takes.

    Returns:
        The comments within the bounds, and what could not be read, as texts for a log.
    """
    found: dict[str, str] = {}
    unreadable: list[str] = []
    for file in files_of(messages):
        path = _beside(file)
        if path is None or not path.is_file():
            continue
        try:
            found |= msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            unreadable.append(f"{path.name}: {error}")
    return bounded(found), unreadable


def bounded(comments: Mapping[str, str]) -> Comments:
    """The comments that fit into `MAX_COMMENTS`, each cut to `MAX_COMMENT` characters."""
    kept: list[tuple[str, str]] = []
    left = MAX_COMMENTS
    for name, text in sorted(comments.items()):
        cut = text if len(text) <= MAX_COMMENT else f"{text[: MAX_COMMENT - 3]}..."
        left -= len(name) + len(cut)
        if left < 0:
            break
        kept.append((name, cut))
    return tuple(kept)


def size_of(comments: Mapping[str, str]) -> int:
    """Characters of names and comments."""
    return sum(len(name) + len(text) for name, text in comments.items())


def _beside(file: FileDescriptor) -> Path | None:
    """The comments beside the module that has declared `file`; `None` if no module has."""
    name = file.name.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"
    # A module may have been imported below another package than that of its .proto file.
    for known, module in list(sys.modules.items()):
        if (known == name or known.endswith(f".{name}")) and getattr(module, "DESCRIPTOR", None) is file:
            source = getattr(module, "__file__", None)
            return Path(source).with_suffix(SUFFIX) if source else None
    return None


def declared_paths(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every message, field, oneof, enum and value of a file by its full name, with its path in source info."""
    scope = f"{file.package}." if file.package else ""
    for index, message in enumerate(file.message_type):
        yield from _message(message, scope, (_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, scope, (_ENUM, index))


def _message(message: DescriptorProto, scope: str, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    name = f"{scope}{message.name}"
    yield name, path
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _FIELD_OF_MESSAGE, index)
    for index, oneof in enumerate(message.oneof_decl):
        yield f"{name}.{oneof.name}", (*path, _ONEOF_OF_MESSAGE, index)
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, f"{name}.", (*path, _MESSAGE_OF_MESSAGE, index))
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, f"{name}.", (*path, _ENUM_OF_MESSAGE, index))


def _enum(enum: EnumDescriptorProto, scope: str, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    name = f"{scope}{enum.name}"
    yield name, path
    for index, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, _VALUE_OF_ENUM, index)


def _text(comment: str) -> str:
    """A comment without the space that begins each line, and without directives for linters."""
    lines = (line.removeprefix(" ").rstrip() for line in comment.splitlines())
    return "\n".join(line for line in lines if not line.startswith("buf:lint:ignore")).strip()
