"""Differences of two contracts: a complete list, and a list that marks the breaking ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract.compatibility.rules import STREAMING, breaking_changes
from hub.contract.compatibility.tightening import field_text, message_text
from hub.contract.compiled import CompiledContract, compile_contract
from hub.contract.contract import Contract
from hub.contract.descriptors.closure import files_of
from hub.contract.descriptors.fields import declared_oneof, field_default, field_label, field_type


class DifferenceKind(StrEnum):
    """The kind of a difference."""

    MESSAGE_RENAMED = "message_renamed"
    MESSAGE_ADDED = "message_added"
    MESSAGE_REMOVED = "message_removed"
    FIELD_ADDED = "field_added"
    FIELD_REMOVED = "field_removed"
    FIELD_RENAMED = "field_renamed"
    FIELD_NUMBER = "field_number"
    FIELD_TYPE = "field_type"
    FIELD_LABEL = "field_label"
    FIELD_JSON_NAME = "field_json_name"
    FIELD_ONEOF = "field_oneof"
    FIELD_RULES = "field_rules"
    FIELD_DEFAULT = "field_default"
    MESSAGE_RULES = "message_rules"
    ENUM_ADDED = "enum_added"
    ENUM_REMOVED = "enum_removed"
    ENUM_VALUE_ADDED = "enum_value_added"
    ENUM_VALUE_REMOVED = "enum_value_removed"
    ENUM_VALUE_NUMBER = "enum_value_number"
    ENUM_DEFAULT = "enum_default"
    ENUM_CLOSED = "enum_closed"
    STREAMING = "streaming"
    DECLARATION = "declaration"


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing that differs between a known contract and a new one.

    Attributes:
        path: Its subject: the full name of a message, field, enum or enum value; `request` or `response` when
            these are different messages, `response stream` when only one contract has one.
        kind: The kind of the difference.
        message: One sentence with both sides.
    """

    path: str
    kind: DifferenceKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference of two contracts, breaking or not.

    Attributes:
        path: Its subject; see `Difference` and `BreakingChange`.
        rule: The rule of Buf that it breaks; empty if it breaks none.
        breaks: Whether it breaks clients and instances of the earlier contract.
        message: One sentence with both sides.
    """

    path: str
    rule: str
    breaks: bool
    message: str


def diff(known: Contract, new: Contract) -> Sequence[Difference]:
    """The differences between `known` and `new`; empty if and only if their fingerprints are equal.

    Messages and enums are compared by full name, fields by name. A field that kept its number and got another name is
    reported as renamed. Request and response messages with other names are compared with each other too.
    """
    if known.fingerprint == new.fingerprint:
        return ()
    found = sorted(set(_differences(compile_contract(known), compile_contract(new))))
    if known.streaming is not new.streaming:
        sides = ("one message", "a stream of messages")
        text = f"the known response is {sides[known.streaming]}, the new one is {sides[new.streaming]}"
        found.insert(0, Difference(STREAMING, DifferenceKind.STREAMING, text))
    if not found:
        text = "the same messages are declared in other files, in another package layout, or in another syntax"
        found.append(Difference("files", DifferenceKind.DECLARATION, text))
    return found


def compare(known: Contract, new: Contract) -> Sequence[Change]:
    """The changes from `known` to `new`, the breaking ones first.

    Raises:
        InvalidContract: Files are inconsistent; not those of `Contract.from_descriptors` and `Contract.decode`.
    """
    broken = breaking_changes(known, new)
    reported = {change.path for change in broken}
    # The fields of another request or response message are not compared.
    replaced = tuple(
        f"{before}."
        for before, after in ((known.request, new.request), (known.response, new.response))
        if before != after
    )
    found = [Change(path=each.path, rule=each.rule, breaks=True, message=each.message) for each in broken]
    found.extend(
        Change(path=each.path, rule="", breaks=False, message=each.message)
        for each in diff(known, new)
        if each.path not in reported and not each.path.startswith(replaced)
    )
    return found


def _differences(known: CompiledContract, new: CompiledContract) -> Iterator[Difference]:
    pairs: list[tuple[Descriptor, Descriptor]] = []
    renamed: set[str] = set()
    for role, old_root, new_root in (
        ("request", known.request, new.request),
        ("response", known.response, new.response),
    ):
        if old_root.full_name != new_root.full_name:
            text = f"the {role} message is {new_root.full_name}, not {old_root.full_name}"
            yield Difference(role, DifferenceKind.MESSAGE_RENAMED, text)
            pairs.append((old_root, new_root))
            renamed |= {old_root.full_name, new_root.full_name}
    for name in sorted((known.types.keys() | new.types.keys()) - renamed):
        old, other = known.types.get(name), new.types.get(name)
        if old is None:
            yield Difference(name, DifferenceKind.MESSAGE_ADDED, f"message {name} is new")
        elif other is None:
            yield Difference(name, DifferenceKind.MESSAGE_REMOVED, f"message {name} is gone")
        else:
            pairs.append((old, other))
    for old, other in pairs:
        yield from _message(old, other)
    yield from _enums(_enums_of(known), _enums_of(new))


def _message(old: Descriptor, new: Descriptor) -> Iterator[Difference]:
    if (before := message_text(old)) != (after := message_text(new)):
        text = f"{old.full_name} has {after}, not {before}"
        yield Difference(old.full_name, DifferenceKind.MESSAGE_RULES, text)
    old_fields, new_fields = _fields_of(old), _fields_of(new)
    old_numbers = {field.number: name for name, field in old_fields.items() if name not in new_fields}
    for name, field in new_fields.items():
        path = f"{old.full_name}.{name}"
        known = old_fields.get(name)
        if known is not None:
            yield from _field(path, known, field)
        elif field.number in old_numbers:
            former = old_fields[old_numbers.pop(field.number)]
            text = f"field {field.number} of {old.full_name} is called {name!r}, not {former.name!r}"
            yield Difference(f"{old.full_name}.{former.name}", DifferenceKind.FIELD_RENAMED, text)
            yield from _field(path, former, field)
        else:
            text = f"field {name!r} ({field_type(field)}, number {field.number}) is new in {old.full_name}"
            yield Difference(path, DifferenceKind.FIELD_ADDED, text)
    for number, name in old_numbers.items():
        text = f"field {name!r} ({field_type(old_fields[name])}, number {number}) is gone from {old.full_name}"
        yield Difference(f"{old.full_name}.{name}", DifferenceKind.FIELD_REMOVED, text)


def _field(path: str, old: FieldDescriptor, new: FieldDescriptor) -> Iterator[Difference]:
    sides = (
        (DifferenceKind.FIELD_NUMBER, "has number", str(old.number), str(new.number)),
        (DifferenceKind.FIELD_TYPE, "is a", field_type(old), field_type(new)),
        (DifferenceKind.FIELD_LABEL, "is", field_label(old), field_label(new)),
        (DifferenceKind.FIELD_DEFAULT, "has the default", field_default(old), field_default(new)),
        (DifferenceKind.FIELD_RULES, "has", field_text(old), field_text(new)),
        (DifferenceKind.FIELD_ONEOF, "is a member of", _oneof(old), _oneof(new)),
    )
    for kind, verb, before, after in sides:
        if before != after:
            yield Difference(path, kind, f"{path} {verb} {after}, not {before}")
    if old.json_name != new.json_name and (
        old.name == new.name or {old.json_name, new.json_name} - {old.name, new.name}
    ):
        text = f"{path} is {new.json_name!r} in JSON, not {old.json_name!r}"
        yield Difference(path, DifferenceKind.FIELD_JSON_NAME, text)


def _enums(old: Mapping[str, EnumDescriptor], new: Mapping[str, EnumDescriptor]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Difference(name, DifferenceKind.ENUM_ADDED, f"enum {name} is new")
        elif name not in new:
            yield Difference(name, DifferenceKind.ENUM_REMOVED, f"enum {name} is gone")
        else:
            yield from _enum(name, old[name], new[name])


def _enum(name: str, old: EnumDescriptor, new: EnumDescriptor) -> Iterator[Difference]:
    before = {value.name: value.number for value in old.values}
    after = {value.name: value.number for value in new.values}
    for value in sorted(before.keys() | after.keys()):
        path = f"{name}.{value}"
        if value not in before:
            yield Difference(path, DifferenceKind.ENUM_VALUE_ADDED, f"{path} = {after[value]} is new")
        elif value not in after:
            yield Difference(path, DifferenceKind.ENUM_VALUE_REMOVED, f"{path} = {before[value]} is gone")
        elif before[value] != after[value]:
            text = f"{path} has number {after[value]}, not {before[value]}"
            yield Difference(path, DifferenceKind.ENUM_VALUE_NUMBER, text)
    if old.values[0].name != new.values[0].name:
        text = f"the first value of {name}, its default, is {new.values[0].name}, not {old.values[0].name}"
        yield Difference(name, DifferenceKind.ENUM_DEFAULT, text)
    if old.is_closed != new.is_closed:
        text = f"{name} {'takes no' if new.is_closed else 'takes'} numbers without a name"
        yield Difference(name, DifferenceKind.ENUM_CLOSED, text)


def _fields_of(message: Descriptor) -> dict[str, FieldDescriptor]:
    fields = {field.name: field for field in message.fields}
    for extension in message.file.pool.FindAllExtensions(message) if message.is_extendable else ():
        fields[f"[{extension.full_name}]"] = extension
    return fields


def _enums_of(contract: CompiledContract) -> dict[str, EnumDescriptor]:
    enums = {
        enum.full_name: enum
        for file in files_of([contract.request, contract.response])
        for enum in file.enum_types_by_name.values()
    }
    enums.update((enum.full_name, enum) for message in contract.types.values() for enum in message.enum_types)
    return enums


def _oneof(field: FieldDescriptor) -> str:
    return declared_oneof(field) or "no oneof"
