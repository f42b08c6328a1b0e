from __future__ import annotations

import anyio
import pytest

from hub.ports.directory import HistoryEvent, InstanceHealth, StatusUpdate
from hub.registry.core.leases import MAX_PENDING_EVENTS, MAX_UPDATES, LeaseTable
from hub.types import InstanceId, InstanceState, ModelName
from tests.registry.helpers import TIMEOUT

ONE, OTHER = InstanceId("one"), InstanceId("other")
LIVE = InstanceHealth(state=InstanceState.LIVE)


def event(number: int, of: InstanceId = ONE) -> HistoryEvent:
    return HistoryEvent(
        at=float(number), instance=of, model=ModelName("M"), url="", before=None, after=None, reason=f"{number}"
    )


def report(token: int, *events: HistoryEvent) -> StatusUpdate:
    return StatusUpdate(instance=ONE, token=token, health=LIVE, events=events)


def take(leases: LeaseTable) -> list[StatusUpdate]:
    return list(leases.take_updates(lambda _: LIVE))


def test_a_finding_is_reported_once_with_the_token_and_all_events() -> None:
    leases = LeaseTable()
    assert leases.renew({ONE: 7}) == [ONE]
    leases.add_finding(ONE, event(1))
    leases.add_finding(ONE)
    leases.add_finding(ONE, event(2))
    assert (leases.unreported, ONE in leases, OTHER in leases, len(leases)) == (1, True, False, 1)
    assert take(leases) == [report(7, event(1), event(2))]
    assert take(leases) == []


def test_without_a_lease_a_finding_waits_for_one() -> None:
    leases = LeaseTable()
    leases.add_finding(ONE, event(1))
    assert (leases.unreported, take(leases)) == (0, [])
    leases.renew({ONE: 7})
    assert take(leases) == [report(7, event(1))]


def test_a_finding_is_dropped_with_its_lease() -> None:
    leases = LeaseTable()
    leases.renew({ONE: 7})
    leases.add_finding(ONE, event(1))
    assert leases.renew({}) == []
    assert leases.renew({ONE: 9}) == [ONE]
    assert take(leases) == []


def test_a_lease_with_a_new_token_counts_as_acquired() -> None:
    leases = LeaseTable()
    leases.renew({ONE: 7, OTHER: 8})
    assert leases.renew({ONE: 7, OTHER: 9}) == [OTHER]
    assert leases.token(OTHER) == 9


def test_events_that_could_not_be_reported_come_before_later_ones() -> None:
    leases = LeaseTable()
    leases.renew({ONE: 7})
    leases.add_finding(ONE, event(1))
    failed = take(leases)
    leases.add_finding(ONE, event(2))
    leases.restore(failed)
    assert take(leases) == [report(7, event(1), event(2))]
    leases.renew({ONE: 8})
    leases.restore(failed)
    assert take(leases) == [], "of an earlier lease"


def test_pending_events_and_updates_per_call_are_bounded() -> None:
    leases = LeaseTable()
    leases.renew({ONE: 7})
    for number in range(3 * MAX_PENDING_EVENTS):
        leases.add_finding(ONE, event(number))
    (only,) = take(leases)
    assert [each.at for each in only.events] == list(range(2 * MAX_PENDING_EVENTS, 3 * MAX_PENDING_EVENTS))
    leases.add_finding(ONE, event(3 * MAX_PENDING_EVENTS))
    leases.restore([only])
    (only,) = take(leases)
    assert [each.at for each in only.events] == list(range(2 * MAX_PENDING_EVENTS + 1, 3 * MAX_PENDING_EVENTS + 1)), (
        "the newest"
    )
    ids = [InstanceId(f"{number}") for number in range(MAX_UPDATES + 1)]
    leases.renew(dict.fromkeys(ids, 1))
    for one in ids:
        leases.add_finding(one)
    assert [len(take(leases)) for _ in range(3)] == [MAX_UPDATES, 1, 0]


@pytest.mark.parametrize("first", ["lease", "finding"])
async def test_a_waiter_is_woken_when_there_is_something_urgent_to_report(first: str) -> None:
    leases = LeaseTable()
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(leases.wait_for_findings)
            for step in (first, "lease", "finding"):
                await anyio.wait_all_tasks_blocked()
                if step == "lease":
                    leases.renew({ONE: 7})
                else:
                    leases.add_finding(ONE, event(1))
