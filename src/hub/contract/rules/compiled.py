"""The rules of a message and of all messages in it, compiled once for each descriptor.

A message is checked after it has been read, so one implementation serves JSON and protobuf. Messages without rules, in
which no message with rules can occur, have no check: `compile_rules` returns `None`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hub.contract.descriptors.pool import message_classes
from hub.contract.descriptors.rule_options import rules_in
from hub.contract.errors import InvalidContract
from hub.contract.rules.checks import Check
from hub.contract.rules.fields import FieldRules, declared_rules, field_rules, refuse_unknown
from hub.contract.rules.message_check import FieldName, MessageCheck, add_field, has_rules, zero_test
from hub.contract.rules.regular_expressions import Patterns


@dataclass(slots=True)
class _Plan:
    """What is known about a message before it is known which of the messages in it have rules."""

    fields: list[FieldRules]
    whole: list[Check]
    inner: set[str] = field(default_factory=set[str])

    @property
    def has_rules(self) -> bool:
        return bool(self.whole) or any(has_rules(each) for each in self.fields)


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
            add_field(check, rules, checks)
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
        add_field(check, rules, {})
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
    return lambda message: None if cast("type[Message]", type(message)).WhichOneof(message, name) is not None else text


def _is_set(descriptor: FieldDescriptor) -> Callable[[Any], bool]:
    name = descriptor.name
    if descriptor.has_presence:
        return lambda message: bool(cast("type[Message]", type(message)).HasField(message, name))
    is_zero = zero_test(descriptor)
    return lambda message: not is_zero(getattr(message, name))


def _inner(plan: _Plan) -> Iterator[Descriptor]:
    for rules in plan.fields:
        if rules.value.nested is not None:
            yield rules.value.nested
