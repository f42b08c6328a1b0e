"""The rules of a message and of all messages in it, compiled once for each descriptor.

A message is checked after it has been read, so one implementation serves JSON and protobuf. Messages without rules, in
which no message with rules can occur, have no check: `compile_rules` returns `None`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.descriptors.pool import message_classes
from hub.contract.descriptors.rule_options import rules_in
from hub.contract.errors import MAX_PROBLEMS, InvalidContract, JsonPath
from hub.contract.rules.checks import Check
from hub.contract.rules.fields import FieldRules, ValueRules, declared_rules, field_rules, refuse_unknown
from hub.contract.rules.strings import Patterns, TooManySteps, bounded_matching

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


@dataclass(slots=True)
class _Plan:
    """What is known about a message before it is known which of the messages in it have rules."""

    fields: list[FieldRules]
    whole: list[Check]
    inner: set[str] = field(default_factory=set[str])

    @property
    def has_rules(self) -> bool:
        return bool(self.whole) or any(_has_rules(each) for each in self.fields)


def compile_rules(message: Descriptor) -> MessageCheck | None:
    """The check of `message`; `None` if neither it nor a message in it has rules.

    What an `Any` contains is not checked, as in protovalidate.

    Raises:
        InvalidContract: A rule is not supported, or does not fit its field; names both.
    """
    patterns = Patterns()
    plans = _plans(message, patterns)
    checks = {name: MessageCheck(patterns) for name in _with_rules(plans)}
    for name, check in checks.items():
        check.add_whole(plans[name].whole)
        for rules in plans[name].fields:
            _add_field(check, rules, checks)
    return checks.get(message.full_name)


def messages_with_rules(message: Descriptor) -> frozenset[str]:
    """Full names of the messages in `message`, and its own, that have rules or can contain messages with rules."""
    return frozenset(_with_rules(_plans(message, Patterns())))


def fields_to_set(message: Descriptor) -> frozenset[str]:
    """Names of the fields of which it breaks a rule if they are not set, of a message with rules."""
    patterns = Patterns()
    plan = _plan(message, patterns)
    check = MessageCheck(patterns)
    for rules in plan.fields:
        _add_field(check, rules, {})
    (message_class,) = (each for each in message_classes([message]) if each.DESCRIPTOR is message)
    return frozenset(str(path[0].alias) for path, _ in check.errors(message_class()) if isinstance(path[0], FieldName))


def required_oneofs(message: Descriptor) -> Sequence[Sequence[str]]:
    """Names of the fields of each group of which one must be set."""
    declared = rules_in(message.GetOptions()) if message.has_options else None
    groups = [] if declared is None else [[*rule.fields] for rule in declared.oneof if rule.required]
    for oneof in message.oneofs:
        rules = rules_in(oneof.GetOptions()) if oneof.has_options else None
        if rules is not None and rules.required:
            groups.append([member.name for member in oneof.fields])
    return groups


def _plans(root: Descriptor, patterns: Patterns) -> Mapping[str, _Plan]:
    """The rules of `root` and of every message that it can contain, by full name."""
    plans: dict[str, _Plan] = {}
    waiting = [root]
    while waiting:
        message = waiting.pop()
        if message.full_name not in plans:
            plan = plans[message.full_name] = _plan(message, patterns)
            for inner in _inner(plan):
                plan.inner.add(inner.full_name)
                waiting.append(inner)
    return plans


def _with_rules(plans: Mapping[str, _Plan]) -> set[str]:
    """The names of the messages that have rules or can contain messages with rules."""
    found = {name for name, plan in plans.items() if plan.has_rules}
    containing: dict[str, list[str]] = {}
    for name, plan in plans.items():
        for inner in plan.inner:
            containing.setdefault(inner, []).append(name)
    spreading = [*found]
    while spreading:
        outer = [name for name in containing.get(spreading.pop(), ()) if name not in found]
        found.update(outer)
        spreading.extend(outer)
    return found


def _plan(message: Descriptor, patterns: Patterns) -> _Plan:
    options = message.GetOptions() if message.has_options else None
    declared = None if options is None else rules_in(options)
    grouped: set[str] = set()
    whole: list[Check] = []
    if declared is not None:
        refuse_unknown(f"message {message.full_name}", declared)
        for rule in declared.oneof:
            grouped.update(rule.fields)
            whole.append(_oneof_check(message, rule))
    for oneof in message.oneofs:
        rules = rules_in(oneof.GetOptions()) if oneof.has_options else None
        if rules is not None:
            refuse_unknown(f"oneof {oneof.full_name}", rules)
            if rules.required:
                whole.append(_required_oneof(oneof.name))
    for extension in message.file.pool.FindAllExtensions(message) if message.is_extendable else ():
        if declared_rules(extension) is not None:
            raise InvalidContract(f"extension {extension.full_name}: rules on extensions are not supported")
    return _Plan([field_rules(each, patterns, skips_zero=each.name in grouped) for each in message.fields], whole)


def _oneof_check(message: Descriptor, rule: Any) -> Check:
    """One of the fields that a message rule names; they need not be a oneof of the message."""
    names: list[str] = [*rule.fields]
    unknown = [name for name in names if name not in message.fields_by_name]
    if not names or unknown or len(set(names)) < len(names):
        raise InvalidContract(
            f"message {message.full_name}: the rule message.oneof names {', '.join(names) or 'no fields'}: it takes fields "
            "of the message, each once"
        )
    are_set = [_is_set(message.fields_by_name[name]) for name in names]
    required: bool = rule.required
    listed = ", ".join(message.fields_by_name[name].json_name for name in names)
    too_many = f"only one of {listed} can be set (rule message.oneof)"
    none = f"one of {listed} must be set (rule message.oneof)"

    def check(value: Any) -> str | None:
        count = sum(is_set(value) for is_set in are_set)
        if count > 1:
            return too_many
        return none if required and not count else None

    return check


def _required_oneof(name: str) -> Check:
    text = f"one field of the oneof {name!r} is required (rule required)"
    return lambda message: None if type(message).WhichOneof(message, name) is not None else text


def _is_set(descriptor: FieldDescriptor) -> Callable[[Any], bool]:
    name = descriptor.name
    if descriptor.has_presence:
        return lambda message: bool(type(message).HasField(message, name))
    is_zero = _zero_test(descriptor)
    return lambda message: not is_zero(getattr(message, name))


def _zero_test(descriptor: FieldDescriptor) -> Callable[[Any], bool]:
    """Whether a value is the zero of its type; a negative zero is not, because it is written to the wire."""
    if descriptor.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT) and (
        not descriptor.is_repeated
    ):
        return lambda value: value == 0 and math.copysign(1, value) > 0
    return lambda value: not value


def _has_rules(rules: FieldRules) -> bool:
    return bool(rules.required or rules.container or rules.value.checks or rules.keys.checks)


def _inner(plan: _Plan) -> Iterator[Descriptor]:
    for rules in plan.fields:
        if rules.value.nested is not None:
            yield rules.value.nested


def _add_field(check: MessageCheck, rules: FieldRules, checks: Mapping[str, MessageCheck]) -> None:
    nested = rules.value.nested
    if not _has_rules(rules) and (nested is None or nested.full_name not in checks):
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
    is_zero = _zero_test(descriptor) if rules.skips_zero and descriptor.message_type is None else None

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
            if not type(message).HasField(message, name):
                return absent
            return () if check_value is None else check_value(getattr(message, name))

        return check_present
    is_zero = _zero_test(descriptor)
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


def path_in_document(path: JsonPath, document: object) -> JsonPath:
    """`path` with the names of the fields as `document` has them: the JSON name, or that of the `.proto` file."""
    tokens: list[str | int] = []
    for token in path:
        name = token
        if isinstance(document, dict):
            if isinstance(token, FieldName) and token not in document and token.alias in document:
                name = token.alias
            document = document.get(name)
        elif isinstance(document, list) and isinstance(token, int) and token < len(document):
            document = document[token]
        tokens.append(name)
    return tuple(tokens)
