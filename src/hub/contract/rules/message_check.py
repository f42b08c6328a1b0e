"""The check of a message: of its fields, and of the messages in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast, final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hub.contract.errors import MAX_PROBLEMS, JsonPath
from hub.contract.rules.checks import Check
from hub.contract.rules.fields import FieldRules, ValueRules
from hub.contract.rules.regular_expressions import Patterns, TooManySteps, bounded_matching

Errors: TypeAlias = Sequence[tuple[JsonPath, str]]
_Check: TypeAlias = Callable[[Any], Errors]

_TOO_MUCH_TEXT: Final = (
    "has more text than can be matched with the patterns of its rules: send less (rule string.pattern)"
)
_REQUIRED: Final = "is required (rule required)"


class FieldName(str):
    """The JSON name of a field in a path, with the other name that a document may have for it."""

    __slots__ = ("alias",)

    alias: str


@final
class MessageCheck:
    """The check of one message, with those of the messages in it."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._fields: list[tuple[FieldName, _Check]] = []
        self._whole: list[Check] = []

    def add(self, name: FieldName, check: _Check) -> None:
        self._fields.append((name, check))

    def add_whole(self, checks: Sequence[Check]) -> None:
        self._whole.extend(checks)

    @property
    def instructions(self) -> int:
        """The size of all patterns that a document is matched with."""
        return self._patterns.instructions

    def violations(self, message: Any) -> Errors:
        """The violations of a whole document; see `errors`. Patterns take a bounded number of steps."""
        try:
            with bounded_matching():
                return self.errors(message)
        except TooManySteps:
            return [((), _TOO_MUCH_TEXT)]

    def errors(self, message: Any) -> Errors:
        """The violations, at most `MAX_PROBLEMS`, each with the path of the value; empty for a valid message."""
        found: list[tuple[JsonPath, str]] = []
        for name, check in self._fields:
            within = check(message)
            if within:
                found += [((name, *path), text) for path, text in within]
                if len(found) >= MAX_PROBLEMS:
                    return found[:MAX_PROBLEMS]
        for whole in self._whole:
            text = whole(message)
            if text is not None:
                found.append(((), text))
        return found


def path_in_document(path: JsonPath, document: Any) -> JsonPath:
    """`path` with the names of the fields as `document` has them: the JSON name, or that of the `.proto` file."""
    tokens: list[str | int] = []
    for token in path:
        name = token
        if isinstance(document, dict):
            members = cast("dict[str | int, Any]", document)
            if isinstance(token, FieldName) and token not in members and token.alias in members:
                name = token.alias
            document = members.get(name)
        elif isinstance(document, list) and isinstance(token, int):
            items: list[Any] = document  # pyright: ignore[reportUnknownVariableType]
            if token < len(items):
                document = items[token]
        tokens.append(name)
    return tuple(tokens)


def has_rules(rules: FieldRules) -> bool:
    return bool(rules.required or rules.container or rules.value.checks or rules.keys.checks)


def add_field(check: MessageCheck, rules: FieldRules, checks: Mapping[str, MessageCheck]) -> None:
    nested = rules.value.nested
    if not has_rules(rules) and (nested is None or nested.full_name not in checks):
        return
    descriptor = rules.descriptor
    name = FieldName(descriptor.json_name)
    name.alias = descriptor.name
    value_type = descriptor.message_type
    if value_type is not None and value_type.GetOptions().map_entry:
        keys = _value_check(rules.keys, value_type.fields_by_name["key"], checks)
        check.add(name, _map_check(rules, keys, _value_check(rules.value, value_type.fields_by_name["value"], checks)))
    elif descriptor.is_repeated:
        check.add(name, _list_check(rules, _value_check(rules.value, descriptor, checks)))
    else:
        check.add(name, _single_check(rules, _value_check(rules.value, descriptor, checks)))


def _value_check(rules: ValueRules, descriptor: FieldDescriptor, checks: Mapping[str, MessageCheck]) -> _Check | None:
    """The check of one value; `None` if all are valid."""
    nested = None if rules.nested is None else checks.get(rules.nested.full_name)
    if nested is not None:
        return nested.errors
    if not rules.checks:
        return None
    own, unwraps = tuple(rules.checks), rules.unwraps
    is_zero = zero_test(descriptor) if rules.skips_zero and descriptor.message_type is None else None

    def check(value: Any) -> Errors:
        if unwraps:
            value = value.value
        if is_zero is not None and is_zero(value):
            return ()
        return [((), text) for each in own if (text := each(value)) is not None]

    return check


def _single_check(rules: FieldRules, check_value: _Check | None) -> _Check:
    descriptor = rules.descriptor
    name = descriptor.name
    absent: Errors = [((), _REQUIRED)] if rules.required else ()
    if descriptor.has_presence:

        def check_present(message: Any) -> Errors:
            if not cast("type[Message]", type(message)).HasField(message, name):
                return absent
            return () if check_value is None else check_value(getattr(message, name))

        return check_present
    is_zero = zero_test(descriptor)
    may_be_absent = rules.required or rules.skips_zero

    def check(message: Any) -> Errors:
        value = getattr(message, name)
        if may_be_absent and is_zero(value):
            return absent
        return () if check_value is None else check_value(value)

    return check


def _list_check(rules: FieldRules, check_item: _Check | None) -> _Check:
    name, container = rules.descriptor.name, tuple(rules.container)
    absent: Errors = [((), _REQUIRED)] if rules.required else ()
    may_be_absent = rules.required or rules.skips_zero

    def check(message: Any) -> Errors:
        items = getattr(message, name)
        if may_be_absent and not items:
            return absent
        found: list[tuple[JsonPath, str]] = [((), text) for each in container if (text := each(items)) is not None]
        if check_item is not None:
            for index, item in enumerate(items):
                within = check_item(item)
                if within:
                    found += [((index, *path), text) for path, text in within]
                    if len(found) >= MAX_PROBLEMS:
                        break
        return found

    return check


def _map_check(rules: FieldRules, check_key: _Check | None, check_value: _Check | None) -> _Check:
    name, container = rules.descriptor.name, tuple(rules.container)
    absent: Errors = [((), _REQUIRED)] if rules.required else ()
    may_be_absent = rules.required or rules.skips_zero

    def check(message: Any) -> Errors:
        entries = getattr(message, name)
        if may_be_absent and not entries:
            return absent
        found: list[tuple[JsonPath, str]] = [((), text) for each in container if (text := each(entries)) is not None]
        if check_key is None and check_value is None:
            return found
        for key, value in entries.items():
            token = str(key).lower() if type(key) is bool else str(key)
            if check_key is not None:
                found += [((token, *path), f"the key {text}") for path, text in check_key(key)]
            if check_value is not None:
                found += [((token, *path), text) for path, text in check_value(value)]
            if len(found) >= MAX_PROBLEMS:
                break
        return found

    return check


def zero_test(descriptor: FieldDescriptor) -> Callable[[Any], bool]:
    """Whether a value is the zero of its type; a negative zero is not, because it is written to the wire."""
    if descriptor.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT) and (
        not descriptor.is_repeated
    ):
        return lambda value: value == 0 and math.copysign(1, value) > 0
    return lambda value: not value
