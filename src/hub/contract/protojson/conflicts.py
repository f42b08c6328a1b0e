"""Checks of the names in an object: duplicates by alias, members of one oneof, missing required fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor

from hub.contract.descriptors.fields import JsonField, json_fields, json_oneofs
from hub.contract.errors import JsonPath
from hub.contract.protojson.conversion import JsonValue

Document: TypeAlias = dict[str, JsonValue]
ConflictCheck: TypeAlias = Callable[[Document], Sequence[tuple[JsonPath, str]]]


def conflict_check(message: Descriptor) -> ConflictCheck | None:
    """A check for fields given under both names, more than one field of a oneof, and missing required fields.

    `None` for a message in which none of these is possible.
    """
    fields = json_fields(message)
    checks = [
        check for check in (_alias_check(fields), _oneof_check(message, fields), _required_check(fields)) if check
    ]
    if len(checks) <= 1:
        return checks[0] if checks else None
    return lambda document: [problem for check in checks for problem in check(document)]


def _alias_check(fields: Sequence[JsonField]) -> ConflictCheck | None:
    aliases = {field.names[1]: field.json_name for field in fields if len(field.names) > 1}
    names = frozenset(aliases)

    def check(document: Document) -> Sequence[tuple[JsonPath, str]]:
        if names.isdisjoint(document):
            return ()
        return [
            ((alias,), f"the same field as {aliases[alias]!r}: give only one of the two")
            for alias in document
            if alias in names and aliases[alias] in document
        ]

    return check if aliases else None


def _oneof_check(message: Descriptor, fields: Sequence[JsonField]) -> ConflictCheck | None:
    oneofs = json_oneofs(message)
    oneof_of = {name: oneof for oneof, members in oneofs for name in members}
    field_of = {name: field for _, members in oneofs for name, field in members.items()}
    takes_null = frozenset(name for field in fields if field.takes_null for name in field.names)

    def search(document: Document) -> Iterator[tuple[JsonPath, str]]:
        # One pass over the document, however many oneofs there are.
        given: dict[str, list[str]] = {}
        for name, value in document.items():
            oneof = oneof_of.get(name)
            if oneof is not None and (value is not None or name in takes_null):
                given.setdefault(oneof, []).append(name)
        for oneof, names in given.items():
            if len({field_of[name] for name in names}) > 1:
                yield (names[-1],), f"{names[0]!r} is given too, and only one field of the oneof {oneof!r} can be set"

    return (lambda document: list(search(document))) if oneofs else None


def _required_check(fields: Sequence[JsonField]) -> ConflictCheck | None:
    required = [field for field in fields if field.descriptor.is_required]

    def check(document: Document) -> Sequence[tuple[JsonPath, str]]:
        return [
            ((), f"the required field {field.json_name!r} is missing")
            for field in required
            if not any(name in document and (document[name] is not None or field.takes_null) for name in field.names)
        ]

    return check if required else None
