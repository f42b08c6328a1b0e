"""Whether a contract can replace an earlier one, by the rules of Buf's category WIRE_JSON.

The rules are, but for two about `buf.validate`, those of buf 1.75 (buf.build/docs/breaking/rules), under Buf's names;
the tests compare with `buf breaking`. Fields and enum values are matched by number, messages and enums by full name. A
contract corresponds to an RPC: another request or response message breaks RPC_SAME_REQUEST_TYPE or
RPC_SAME_RESPONSE_TYPE, and a stream in place of one response, or the reverse, RPC_SAME_SERVER_STREAMING. Other rules of
services do not apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

from hub.contract.compatibility.declarations import Declarations, DeclaredEnum, DeclaredMessage, unreserved
from hub.contract.compatibility.evolution import cardinality_of, defaults_conflict, json_type_conflict
from hub.contract.compatibility.tightening import tightened_field, tightened_message
from hub.contract.compiled import compile_contract
from hub.contract.contract import Contract
from hub.contract.descriptors.fields import declared_oneof, field_default, field_type
from hub.contract.rules.compiled import fields_to_set, messages_with_rules

STREAMING: Final = "response stream"
"""The path of the difference between one response and a stream of them."""


class Rule(StrEnum):
    """A rule of Buf, under Buf's name; the two about `buf.validate` are hub's own, because Buf has none."""

    ENUM_SAME_JSON_FORMAT = "ENUM_SAME_JSON_FORMAT"
    ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED = "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED"
    ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED = "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED"
    ENUM_VALUE_SAME_NAME = "ENUM_VALUE_SAME_NAME"
    FIELD_NO_DELETE_UNLESS_NAME_RESERVED = "FIELD_NO_DELETE_UNLESS_NAME_RESERVED"
    FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED = "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"
    FIELD_RULES_NOT_TIGHTER = "FIELD_RULES_NOT_TIGHTER"
    FIELD_SAME_DEFAULT = "FIELD_SAME_DEFAULT"
    FIELD_SAME_JSON_NAME = "FIELD_SAME_JSON_NAME"
    FIELD_SAME_NAME = "FIELD_SAME_NAME"
    FIELD_SAME_ONEOF = "FIELD_SAME_ONEOF"
    FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY = "FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY"
    FIELD_WIRE_JSON_COMPATIBLE_TYPE = "FIELD_WIRE_JSON_COMPATIBLE_TYPE"
    FILE_SAME_PACKAGE = "FILE_SAME_PACKAGE"
    MESSAGE_RULES_NOT_TIGHTER = "MESSAGE_RULES_NOT_TIGHTER"
    MESSAGE_SAME_JSON_FORMAT = "MESSAGE_SAME_JSON_FORMAT"
    MESSAGE_SAME_REQUIRED_FIELDS = "MESSAGE_SAME_REQUIRED_FIELDS"
    RESERVED_ENUM_NO_DELETE = "RESERVED_ENUM_NO_DELETE"
    RESERVED_MESSAGE_NO_DELETE = "RESERVED_MESSAGE_NO_DELETE"
    RPC_SAME_REQUEST_TYPE = "RPC_SAME_REQUEST_TYPE"
    RPC_SAME_RESPONSE_TYPE = "RPC_SAME_RESPONSE_TYPE"
    RPC_SAME_SERVER_STREAMING = "RPC_SAME_SERVER_STREAMING"


@dataclass(frozen=True, slots=True, order=True)
class BreakingChange:
    """One way in which a new contract breaks an earlier one.

    Attributes:
        path: Its subject under its earlier name: the full name of a message, field, enum or enum value, the name of a
            file, `request`, `response` or `response stream`.
        rule: The rule.
        message: One sentence with the earlier and the present state.
    """

    path: str
    rule: Rule
    message: str


def breaking_changes(known: Contract, new: Contract) -> Sequence[BreakingChange]:
    """The ways in which `new` breaks `known`; empty if clients and instances of `known` work with `new`.

    Raises:
        InvalidContract: Files are inconsistent; not those of `Contract.from_descriptors` and `Contract.decode`.
    """
    if known.fingerprint == new.fingerprint and known.files == new.files:
        return ()
    return sorted(_changes(Declarations(known), Declarations(new)))


def _changes(old: Declarations, new: Declarations) -> Iterator[BreakingChange]:
    yield from _roots(old.contract, new.contract)
    for name in sorted(old.packages.keys() & new.packages.keys()):
        before, after = old.packages[name], new.packages[name]
        if before != after:
            text = f"file {name} was in package {before!r} and is in {after!r}"
            yield BreakingChange(name, Rule.FILE_SAME_PACKAGE, text)
    for name in old.messages.keys() & new.messages.keys():
        yield from _message(old, new, name)
    yield from _rules(old, new)
    for key in old.extensions.keys() & new.extensions.keys():
        extension = old.extensions[key]
        yield from _field(f"{key[0]}.[{extension.full_name}]", extension, new.extensions[key])
    for name in old.enums.keys() & new.enums.keys():
        yield from _enum(old.enums[name], new.enums[name])


def _roots(old: Contract, new: Contract) -> Iterator[BreakingChange]:
    for role, rule, before, after in (
        ("request", Rule.RPC_SAME_REQUEST_TYPE, old.request, new.request),
        ("response", Rule.RPC_SAME_RESPONSE_TYPE, old.response, new.response),
    ):
        if before != after:
            yield BreakingChange(role, rule, f"the {role} message was {before} and is {after}")
    if old.streaming is not new.streaming:
        words = ("one message", "a stream of messages")
        text = f"the response was {words[old.streaming]} and is {words[new.streaming]}"
        yield BreakingChange(STREAMING, Rule.RPC_SAME_SERVER_STREAMING, text)


def _message(all_old: Declarations, all_new: Declarations, name: str) -> Iterator[BreakingChange]:
    old, new = all_old.messages[name], all_new.messages[name]
    if old.json_allowed and not new.json_allowed:
        yield BreakingChange(old.path, Rule.MESSAGE_SAME_JSON_FORMAT, _json_text(old.path))
    yield from _reserved(old, new, Rule.RESERVED_MESSAGE_NO_DELETE)
    new_fields = new.fields
    for number, field in old.fields.items():
        path = _path(old, field)
        if number in new_fields:
            yield from _field(path, field, new_fields[number], of_map=old.is_map_entry and new.is_map_entry)
        else:
            yield from _deleted_field(path, field, new)
    for number in sorted(old.required ^ new.required):
        was = number in old.required
        field = (old if was else new).fields[number]
        words = "was required and is not" if was else "was not required and is"
        text = f"field {field.name!r} (number {number}) of {old.path} {words}"
        path = _path(old, old.fields.get(number, field))
        yield BreakingChange(path, Rule.MESSAGE_SAME_REQUIRED_FIELDS, text)


def _rules(all_old: Declarations, all_new: Declarations) -> Iterator[BreakingChange]:
    """Tighter rules on what a request can contain."""
    for name in sorted(messages_with_rules(compile_contract(all_new.contract).request) & all_old.messages.keys()):
        old, new = all_old.messages[name], all_new.messages[name]
        for text in tightened_message(old.descriptor, new.descriptor):
            yield BreakingChange(old.path, Rule.MESSAGE_RULES_NOT_TIGHTER, f"{old.path}: {text}")
        must_be_set = fields_to_set(new.descriptor)
        for number, field in new.fields.items():
            known = old.fields.get(number)
            if known is not None:
                texts = "; ".join(tightened_field(known, field))
                path = f"{old.path}.{known.name}"
            else:
                texts = "it is new and must be set" if field.name in must_be_set else ""
                path = f"{old.path}.{field.name}"
            if texts:
                yield BreakingChange(path, Rule.FIELD_RULES_NOT_TIGHTER, f"the rules of {path} are tighter: {texts}")


def _deleted_field(path: str, field: FieldDescriptor, new: DeclaredMessage) -> Iterator[BreakingChange]:
    gone = f"field {field.name!r} ({field_type(field)}, number {field.number}) of {new.path} is gone"
    if field.name not in new.reserved_names:
        text = f"{gone}, and its name is not reserved"
        yield BreakingChange(path, Rule.FIELD_NO_DELETE_UNLESS_NAME_RESERVED, text)
    if not _contains(new.reserved, field.number):
        text = f"{gone}, and its number is not reserved"
        yield BreakingChange(path, Rule.FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED, text)


def _field(path: str, old: FieldDescriptor, new: FieldDescriptor, *, of_map: bool = False) -> Iterator[BreakingChange]:
    before, after = (field.full_name if field.is_extension else field.name for field in (old, new))
    what = f"the {old.name} of {path}" if of_map else path
    if before != after:
        yield BreakingChange(path, Rule.FIELD_SAME_NAME, f"{path} was called {before!r} and is called {after!r}")
    if not old.is_extension:
        if old.json_name != new.json_name:
            text = f"{path} was {old.json_name!r} in JSON and is {new.json_name!r}"
            yield BreakingChange(path, Rule.FIELD_SAME_JSON_NAME, text)
        if declared_oneof(old) != declared_oneof(new):
            text = f"{path} was in {_oneof_text(old)} and is in {_oneof_text(new)}"
            yield BreakingChange(path, Rule.FIELD_SAME_ONEOF, text)
    if json_type_conflict(old, new):
        text = f"{what} was {field_type(old)} and is {field_type(new)}"
        yield BreakingChange(path, Rule.FIELD_WIRE_JSON_COMPATIBLE_TYPE, text)
    if not of_map and cardinality_of(old) is not cardinality_of(new):
        text = f"{path} was {cardinality_of(old)} and is {cardinality_of(new)}"
        yield BreakingChange(path, Rule.FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY, text)
    if defaults_conflict(old, new):
        text = f"{what} had the default {_default_text(old)} and has {_default_text(new)}"
        yield BreakingChange(path, Rule.FIELD_SAME_DEFAULT, text)


def _enum(old: DeclaredEnum, new: DeclaredEnum) -> Iterator[BreakingChange]:
    if old.json_allowed and not new.json_allowed:
        yield BreakingChange(old.path, Rule.ENUM_SAME_JSON_FORMAT, _json_text(old.path))
    yield from _reserved(old, new, Rule.RESERVED_ENUM_NO_DELETE)
    new_names = new.names
    for number, names in old.names.items():
        first, *_ = sorted(names)
        path, shown = f"{old.path}.{first}", ", ".join(sorted(names))
        after = new_names.get(number)
        if after is None:
            gone = f"value {number} ({shown}) of {old.path} is gone"
            if not names <= new.reserved_names:
                text = f"{gone}, and its name is not reserved"
                yield BreakingChange(path, Rule.ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED, text)
            if not _contains(new.reserved, number):
                text = f"{gone}, and its number is not reserved"
                yield BreakingChange(path, Rule.ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED, text)
        elif not names <= after:
            text = f"value {number} of {old.path} was called {shown} and is called {', '.join(sorted(after))}"
            lost, *_ = sorted(names - after)
            yield BreakingChange(f"{old.path}.{lost}", Rule.ENUM_VALUE_SAME_NAME, text)


def _reserved(
    old: DeclaredMessage | DeclaredEnum, new: DeclaredMessage | DeclaredEnum, rule: Rule
) -> Iterator[BreakingChange]:
    for number_range in old.reserved:
        for lost in unreserved(number_range, new.reserved):
            numbers = f"number {lost.start}" if len(lost) == 1 else f"numbers {lost.start} to {lost[-1]}"
            verbs = "was reserved and is not" if len(lost) == 1 else "were reserved and are not"
            yield BreakingChange(old.path, rule, f"{numbers} of {old.path} {verbs}")
    for name in sorted(old.reserved_names - new.reserved_names):
        yield BreakingChange(old.path, rule, f"name {name!r} of {old.path} was reserved and is not")


def _contains(reserved: Iterable[range], number: int) -> bool:
    return any(number in each for each in reserved)


def _path(message: DeclaredMessage, field: FieldDescriptor) -> str:
    return message.path if message.is_map_entry else f"{message.path}.{field.name}"


def _json_text(path: str) -> str:
    return f"{path} was declared to have a JSON form (json_format = ALLOW) and now has one by best effort only"


def _oneof_text(field: FieldDescriptor) -> str:
    oneof = declared_oneof(field)
    return "no oneof" if oneof is None else f"oneof {oneof!r}"


def _default_text(field: FieldDescriptor) -> str:
    return field_default(field) if field.has_default_value else "of its type"
