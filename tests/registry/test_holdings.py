from __future__ import annotations

import anyio
import pytest

from hub.ports.directory import HistoryEvent, InstanceHealth, StatusUpdate
from hub.registry.core.leases import MAX_PENDING_EVENTS, MAX_UPDATES, LeaseTable
from hub.types import InstanceId, InstanceState, ModelName
from tests.registry.support import TIMEOUT

ONE, OTHER = InstanceId("one"), InstanceId("other")
LIVE = InstanceHealth(state=InstanceState.LIVE)


def event(number: int, of: InstanceId = ONE) -> HistoryEvent:
    return HistoryEvent(
        at=float(number), instance=of, model=ModelName("M"), url="", before=None, after=None, reason=f"{number}"
    )


def report(token: int, *events: HistoryEvent) -> StatusUpdate:
    return StatusUpdate(instance=ONE, token=token, health=LIVE, events=events)


def take(holdings: LeaseTable) -> list[StatusUpdate]:
    return list(holdings.take_updates(lambda _: LIVE))


def test_what_is_found_out_is_reported_once_with_the_token_and_all_events() -> None:
    holdings = LeaseTable()
    assert holdings.renew({ONE: 7}) == [ONE]
    holdings.add_finding(ONE, event(1))
    holdings.add_finding(ONE)
    holdings.add_finding(ONE, event(2))
    assert (holdings.unreported, ONE in holdings, OTHER in holdings, len(holdings)) == (1, True, False, 1)
    assert take(holdings) == [report(7, event(1), event(2))]
    assert take(holdings) == []


def test_without_a_lease_a_finding_waits_for_one() -> None:
    holdings = LeaseTable()
    holdings.add_finding(ONE, event(1))
    assert (holdings.unreported, take(holdings)) == (0, [])
    holdings.renew({ONE: 7})
    assert take(holdings) == [report(7, event(1))]


def test_with_a_lease_that_is_lost_what_was_found_out_is_lost() -> None:
    holdings = LeaseTable()
    holdings.renew({ONE: 7})
    holdings.add_finding(ONE, event(1))
    assert holdings.renew({}) == []
    assert holdings.renew({ONE: 9}) == [ONE]
    assert take(holdings) == []


def test_a_lease_with_a_new_token_counts_as_acquired() -> None:
    holdings = LeaseTable()
    holdings.renew({ONE: 7, OTHER: 8})
    assert holdings.renew({ONE: 7, OTHER: 9}) == [OTHER]
    assert holdings.token(OTHER) == 9


def test_what_could_not_be_reported_goes_before_what_was_found_out_since() -> None:
    holdings = LeaseTable()
    holdings.renew({ONE: 7})
    holdings.add_finding(ONE, event(1))
    failed = take(holdings)
    holdings.add_finding(ONE, event(2))
    holdings.restore(failed)
    assert take(holdings) == [report(7, event(1), event(2))]
    holdings.renew({ONE: 8})
    holdings.restore(failed)
    assert take(holdings) == [], "of an earlier lease"


def test_what_waits_is_bounded() -> None:
    holdings = LeaseTable()
    holdings.renew({ONE: 7})
    for number in range(3 * MAX_PENDING_EVENTS):
        holdings.add_finding(ONE, event(number))
    (only,) = take(holdings)
    assert [each.at for each in only.events] == list(range(2 * MAX_PENDING_EVENTS, 3 * MAX_PENDING_EVENTS))
    holdings.add_finding(ONE, event(3 * MAX_PENDING_EVENTS))
    holdings.restore([only])
    (only,) = take(holdings)
    assert [each.at for each in only.events] == list(range(2 * MAX_PENDING_EVENTS + 1, 3 * MAX_PENDING_EVENTS + 1)), (
        "the newest"
    )
    ids = [InstanceId(f"{number}") for number in range(MAX_UPDATES + 1)]
    holdings.renew(dict.fromkeys(ids, 1))
    for one in ids:
        holdings.add_finding(one)
    assert [len(take(holdings)) for _ in range(3)] == [MAX_UPDATES, 1, 0]


@pytest.mark.parametrize("first", ["lease", "finding"])
async def test_who_waits_is_woken_when_there_is_something_to_report(first: str) -> None:
    holdings = LeaseTable()
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(holdings.wait_for_findings)
            for step in (first, "lease", "finding"):
                await anyio.wait_all_tasks_blocked()
                if step == "lease":
                    holdings.renew({ONE: 7})
                else:
                    holdings.add_finding(ONE)
