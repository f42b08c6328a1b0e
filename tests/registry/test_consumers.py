from __future__ import annotations

from hub.registry.core.consumer_check import ConsumerCheck
from hub.registry.core.ping_result import PingOk
from hub.registry.core.state import RegistryState
from hub.registry.core.table import InstanceTable
from hub.types import ModelName
from tests.registry.support import MODEL, entry_of


def test_consumers_are_missing_after_two_looks_in_a_row_and_that_is_counted_once() -> None:
    roll, entries = RegistryState(InstanceTable()), [entry_of(), entry_of()]
    for entry in entries:
        roll.table.login(entry)
        target = roll.table.target(entry.id)
        assert target is not None
        roll.table.pinged(target, PingOk(), now=1.0)
    counts = ConsumerCheck(roll)
    seen: list[int] = []
    for count in (1, 2, 1, 1, 1, 2, 1, 1):
        counts({MODEL: count, ModelName("Other"): 0}, 2.0)
        seen.append(counts.missing(MODEL))
    assert seen == [0, 0, 0, 1, 1, 0, 0, 1]
    assert counts.shortfalls[MODEL] == 2
    assert counts.missing(ModelName("Other")) == 0
