"""Two contracts side by side."""

from __future__ import annotations

from hub.contract import breaking_changes, diff
from hub.contract.compatibility.diff import compare
from tests.contract.test_compatibility import CASES, contract, files, pair
from tests.registry.helpers import BROKEN, GROWN, PLAIN


def test_equal_contracts_have_no_changes() -> None:
    assert not compare(PLAIN, PLAIN)


def test_breaking_changes_come_first_with_their_rules() -> None:
    found = compare(PLAIN, BROKEN)
    assert [each.breaks for each in found] == [True] * 4
    growth = compare(PLAIN, GROWN)
    assert [(each.path, each.rule, each.breaks) for each in growth] == [
        ("grow.v1.Answer.tone", "", False),
        ("grow.v1.Ask.tone", "", False),
    ]


def test_all_differences_are_among_the_changes() -> None:
    for case in CASES:
        old, new = pair(case)
        found = compare(old, new)
        paths = {each.path for each in found}
        assert {violation.path for violation in breaking_changes(old, new)} <= paths
        assert {difference.path for difference in diff(old, new)} <= paths
        assert not found or [each.breaks for each in found] == sorted((each.breaks for each in found), reverse=True)


def test_the_fields_of_another_message_are_not_compared() -> None:
    known, new = contract(files("proto3")), contract(files("proto3"), response="ask.Spot")
    assert [(each.path, each.rule) for each in compare(known, new)] == [("response", "RPC_SAME_RESPONSE_TYPE")]
