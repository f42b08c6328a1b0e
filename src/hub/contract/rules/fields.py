"""Rules on one field: the checks of its value, its items, or its keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.descriptors.rule_options import rules_in, unknown_rules
from hub.contract.descriptors.well_known import ANY, DURATION, FIELD_MASK, TIMESTAMP, WELL_KNOWN, WRAPPERS
from hub.contract.errors import InvalidContract
from hub.contract.rules.checks import Check, listed, unless
from hub.contract.rules.numbers import bool_checks, enum_checks, number_checks, time_checks
from hub.contract.rules.regular_expressions import Patterns
from hub.contract.rules.strings import bytes_checks, string_checks

IGNORE_ZERO: Final = 1
IGNORE_ALWAYS: Final = 3

_FIRST_EXTENSION: Final = 1000
"""Number of the first extension of the messages with rules, which declare rules in CEL."""

_KINDS: Final[Mapping[int, str]] = {
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_SINT32: "sint32",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_SFIXED32: "sfixed32",
    FieldDescriptor.TYPE_SFIXED64: "sfixed64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
}
_KINDS_OF_MESSAGES: Final[Mapping[str, str]] = {
    ANY: "any",
    DURATION: "duration",
    FIELD_MASK: "field_mask",
    TIMESTAMP: "timestamp",
}
_UNIQUE: Final = "must not contain a value twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRules:
    """The rules on a single value.

    Attributes:
        checks: The checks of the value; of a wrapper, those of the value within.
        skips_zero: Whether an item that is the zero value of its type is not checked.
        unwraps: Whether the value is a wrapper.
        nested: The message that is the value, if it is one without a JSON form of its own and its rules apply too.
    """

    checks: Sequence[Check] = ()
    skips_zero: bool = False
    unwraps: bool = False
    nested: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRules:
    """The rules on a field.

    Attributes:
        descriptor: The field.
        required: Whether the field has to be set; without presence: not to its zero value.
        skips_zero: Whether the zero value of a field without presence is not checked.
        container: The checks of a list or a map as a whole.
        value: The rules on the value, on each item, or on each value of a map.
        keys: The rules on each key of a map.
    """

    descriptor: FieldDescriptor
    required: bool = False
    skips_zero: bool = False
    container: Sequence[Check] = ()
    value: ValueRules = ValueRules()
    keys: ValueRules = ValueRules()


def declared_rules(field: FieldDescriptor) -> Any:
    """The `buf.validate.FieldRules` of a field, or `None`."""
    return rules_in(field.GetOptions()) if field.has_options else None


def ignores_messages(field: FieldDescriptor) -> bool:
    """Whether the rules of the messages in `field` are not checked: it, its items or its values ignore all rules."""
    rules = declared_rules(field)
    if rules is None:
        return False
    return IGNORE_ALWAYS in (rules.ignore, rules.repeated.items.ignore, rules.map.values.ignore)


def field_rules(field: FieldDescriptor, patterns: Patterns, *, skips_zero: bool = False) -> FieldRules:
    """Compiles the rules on a field.

    Args:
        field: The field.
        patterns: The regular expressions of the contract.
        skips_zero: Whether the zero value is not checked unless the field's own rules say more about it.

    Raises:
        InvalidContract: A rule is not supported, or not for a field of this type.
    """
    rules = declared_rules(field)
    if rules is not None:
        refuse_unknown(f"field {field.full_name}", rules)
    try:
        return _compile(field, rules, patterns, skips_zero=skips_zero)
    except InvalidContract as error:
        raise InvalidContract(f"field {field.full_name}: {error.reason}") from error


def refuse_unknown(place: str, rules: Any) -> None:
    """Refuses rules in CEL, predefined rules, and rules that this version of hub does not know."""
    for name in ("cel", "cel_expression"):
        for message in _messages_in(rules):
            if name in message.DESCRIPTOR.fields_by_name and getattr(message, name):
                raise InvalidContract(
                    f"{place}: the rule `{name}` is not supported: hub checks declarative rules, not CEL"
                )
    for message_name, number in unknown_rules(rules):
        what = (
            "a predefined rule, in CEL" if number >= _FIRST_EXTENSION else "newer than this version of hub, or obsolete"
        )
        raise InvalidContract(
            f"{place}: the rule with number {number} in buf.validate.{message_name} is {what}: remove it"
        )


def _messages_in(rules: Any) -> Iterator[Any]:
    yield rules
    for field, value in rules.ListFields():
        if field.message_type is not None and field.message_type.file is rules.DESCRIPTOR.file:
            for each in value if field.is_repeated else (value,):
                yield from _messages_in(each)


def _compile(field: FieldDescriptor, rules: Any, patterns: Patterns, *, skips_zero: bool) -> FieldRules:
    if rules is not None and rules.ignore == IGNORE_ALWAYS:
        return FieldRules(descriptor=field)
    required = rules is not None and rules.required
    skips_zero = (skips_zero and (rules is None or not rules.ignore)) or (
        rules is not None and rules.ignore == IGNORE_ZERO
    )
    kind = None if rules is None else rules.WhichOneof("type")
    value_type = field.message_type
    if value_type is not None and value_type.GetOptions().map_entry:
        _expect(kind, "map")
        of_map = rules.map if rules is not None and kind else None
        keys, values = (
            _value_rules(
                value_type.fields_by_name[name], getattr(of_map, plural) if of_map is not None else None, patterns
            )
            for name, plural in (("key", "keys"), ("value", "values"))
        )
        container = [*_size_checks("map", "pairs", "entries", of_map)]
        return FieldRules(
            descriptor=field, required=required, skips_zero=skips_zero, container=container, value=values, keys=keys
        )
    if field.is_repeated:
        _expect(kind, "repeated")
        of_list = rules.repeated if rules is not None and kind else None
        container = [*_size_checks("repeated", "items", "items", of_list)]
        if of_list is not None and of_list.unique:
            if value_type is not None:
                raise InvalidContract("the rule repeated.unique is for numbers, strings, bytes, bools and enums")
            container.append(unless(lambda items: len(set(items)) == len(items), _UNIQUE, "repeated.unique"))
        items = _value_rules(field, of_list.items if of_list is not None else None, patterns)
        return FieldRules(descriptor=field, required=required, skips_zero=skips_zero, container=container, value=items)
    value = replace(_value_rules(field, rules, patterns), skips_zero=False)
    return FieldRules(descriptor=field, required=required, skips_zero=skips_zero, value=value)


def _value_rules(field: FieldDescriptor, rules: Any, patterns: Patterns) -> ValueRules:
    """The rules on one value of the type of `field`, which may be an item of a list."""
    value_type = field.message_type
    nested = None if value_type is None or value_type.full_name in WELL_KNOWN else value_type
    if rules is None:
        return ValueRules(nested=nested)
    if rules.ignore == IGNORE_ALWAYS:
        return ValueRules()
    unwraps = value_type is not None and value_type.full_name in WRAPPERS
    typed = field if value_type is None or not unwraps else value_type.fields_by_name["value"]
    kind = rules.WhichOneof("type")
    expected = (
        _KINDS_OF_MESSAGES.get(value_type.full_name) if value_type is not None and not unwraps else _KINDS[typed.type]
    )
    _expect(kind, expected)
    return ValueRules(
        checks=[] if kind is None else [*_checks(kind, getattr(rules, kind), typed, patterns)],
        skips_zero=rules.ignore == IGNORE_ZERO,
        unwraps=unwraps,
        nested=nested,
    )


def _expect(kind: str | None, expected: str | None) -> None:
    if kind is not None and kind != expected:
        right = f"rules of the kind {expected}" if expected else "`required` and `ignore` only"
        raise InvalidContract(f"rules of the kind {kind} do not fit its type, which takes {right}")


def _checks(kind: str, rules: Any, field: FieldDescriptor, patterns: Patterns) -> Iterable[Check]:
    if kind == "enum" and field.enum_type is not None:
        return enum_checks(rules, field.enum_type)
    if kind in ("duration", "timestamp"):
        return time_checks(kind, rules)
    if kind in ("string", "bytes"):
        return (string_checks if kind == "string" else bytes_checks)(rules, patterns)
    special = _SPECIAL.get(kind)
    return number_checks(kind, rules) if special is None else special(rules)


def _size_checks(kind: str, suffix: str, unit: str, rules: Any) -> Iterator[Check]:
    given = {} if rules is None else {field.name: value for field, value in rules.ListFields()}
    if (least := given.get(f"min_{suffix}")) is not None:
        low: int = least
        yield unless(lambda values: len(values) >= low, f"must have at least {low} {unit}", f"{kind}.min_{suffix}")
    if (most := given.get(f"max_{suffix}")) is not None:
        high: int = most
        yield unless(lambda values: len(values) <= high, f"must have at most {high} {unit}", f"{kind}.max_{suffix}")


def _any_checks(rules: Any) -> Iterator[Check]:
    if allowed := frozenset(getattr(rules, "in")):
        text = f"must have one of the types {listed(sorted(allowed), str)}"
        yield unless(lambda value: value.type_url in allowed, text, "any.in")
    if refused := frozenset(rules.not_in):
        text = f"must have none of the types {listed(sorted(refused), str)}"
        yield unless(lambda value: value.type_url not in refused, text, "any.not_in")


def _field_mask_checks(rules: Any) -> Iterator[Check]:
    given = {field.name: value for field, value in rules.ListFields()}
    if "const" in given:
        const = [*given["const"].paths]
        text = f"must have the paths {listed(const, str) or '(none)'}"
        yield unless(lambda value: [*value.paths] == const, text, "field_mask.const")
    if "in" in given:
        inside = _covers(given["in"])
        text = f"must only have paths in {listed(given['in'], str)}"
        yield unless(lambda value: all(map(inside, value.paths)), text, "field_mask.in")
    if "not_in" in given:
        within = _covers(given["not_in"])
        text = f"must have no path in {listed(given['not_in'], str)}"
        yield unless(lambda value: not any(map(within, value.paths)), text, "field_mask.not_in")


def _covers(paths: Iterable[str]) -> Callable[[str], bool]:
    whole = frozenset(paths)

    def covered(path: str) -> bool:
        parents = (path[:index] for index, letter in enumerate(path) if letter == ".")
        return any(each in whole for each in chain([path], parents))

    return covered


_SPECIAL: Final[Mapping[str, Callable[[Any], Iterable[Check]]]] = {
    "any": _any_checks,
    "bool": bool_checks,
    "field_mask": _field_mask_checks,
}
"""The rules that are neither on numbers, nor on texts, nor on times."""
