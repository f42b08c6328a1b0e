"""Random contracts under random changes: we and `buf breaking` name the same rules."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from hub.contract import Contract, breaking_changes
from tests.contract.bounded import bounded
from tests.contract.breaking_oracle import judged
from tests.contract.mutations import pairs

BATCH = 12
"""Pairs in one call of buf."""


@given(st.lists(pairs(), min_size=BATCH, max_size=BATCH))
@settings(bounded, max_examples=max(1, bounded.max_examples // 6))
def test_hub_and_buf_report_the_same_rules(batch: list[tuple[Contract, Contract]]) -> None:
    ours = [frozenset(violation.rule.value for violation in breaking_changes(*pair)) for pair in batch]
    assert ours == list(judged(batch))
