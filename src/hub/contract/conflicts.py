"""What is wrong with which members an object has, whatever their values are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor

from hub.contract.fields import JsonField, json_fields, json_oneofs
from hub.contract.jsontext import JsonValue
from hub.contract.refusal import Place

ConflictCheck: TypeAlias = Callable[[dict[str, JsonValue]], list[tuple[Place, str]]]


def conflict_check(message: Descriptor) -> ConflictCheck | None:
    """Finds fields given under both of their names, more than one field of a oneof, and missing required fields.

    `None` for a message to which none of these can happen.
    """
    fields = json_fields(message)
    aliases = {field.names[1]: field.json_name for field in fields if len(field.names) > 1}
    oneofs = json_oneofs(message)
    required = [field for field in fields if field.descriptor.is_required]
    takes_null = frozenset(name for field in fields if field.takes_null for name in field.names)
    if not (aliases or oneofs or required):
        return None
    alias_names = frozenset(aliases)

    def set_by(document: dict[str, JsonValue], name: str) -> bool:
        return document[name] is not None or name in takes_null

    def given_twice(document: dict[str, JsonValue]) -> Iterator[tuple[Place, str]]:
        for alias in alias_names & document.keys():
            if aliases[alias] in document:
                yield (alias,), f"the same field as {aliases[alias]!r}: give only one of the two"

    def exclusive(document: dict[str, JsonValue]) -> Iterator[tuple[Place, str]]:
        for oneof, members in oneofs:
            given = [name for name in document if name in members and set_by(document, name)]
            if len({members[name] for name in given}) > 1:
                yield (given[-1],), f"{given[0]!r} is given too, and only one field of the oneof {oneof!r} can be set"

    def missing(document: dict[str, JsonValue]) -> Iterator[tuple[Place, str]]:
        for field in required:
            if not _is_set(field, document):
                yield (), f"the required field {field.json_name!r} is missing"

    def check(document: dict[str, JsonValue]) -> list[tuple[Place, str]]:
        found: list[tuple[Place, str]] = []
        if not alias_names.isdisjoint(document):
            found += given_twice(document)
        if oneofs:
            found += exclusive(document)
        if required:
            found += missing(document)
        return found

    return check


def _is_set(field: JsonField, document: dict[str, JsonValue]) -> bool:
    return any(name in document and (document[name] is not None or field.takes_null) for name in field.names)
