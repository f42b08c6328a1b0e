"""Missed pings of most instances at once, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st
from trio.testing import MockClock

from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected
from hub.registry.core.self_preservation import MIN_MISSED, PingRound, SelfPreservation
from hub.registry.core.state import RegistryState
from hub.registry.tasks.pinger import LATE_AFTER, LATE_BEAT, SLICE_SIZE, SPREAD, Pinger
from hub.types import InstanceState
from tests.registry.fakes import ScriptedProbe
from tests.registry.helpers import entry_of
from tests.registry.test_pinger import PERIOD, TIMEOUT, NoJitter, run_for

LIVE, SUSPECT = InstanceState.LIVE, InstanceState.SUSPECT
MISSES = 3


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


def fleet_of(count: int) -> tuple[Sequence[InstanceEntry], ScriptedProbe, Pinger, RegistryState]:
    """A pinger with that many live instances."""
    entries, probe, state = (
        [entry_of() for _ in range(count)],
        ScriptedProbe(),
        RegistryState(misses=MISSES, clock=anyio.current_time),
    )
    for entry in entries:
        state.login(entry)
        target = state.target(entry.id)
        assert target is not None
        state.pinged(target, PingOk())
    pinger = Pinger(
        state,
        probe,
        period=PERIOD,
        timeout=TIMEOUT,
        misses=MISSES,
        rng=NoJitter(),
    )
    return entries, probe, pinger, state


def is_active(pinger: Pinger) -> bool:
    return pinger.self_preservation.active


def states(state: RegistryState) -> list[InstanceState]:
    return [status.state for status in state.instances()]


@given(witnesses=st.integers(0, 12), silent=st.integers(0, 12))
def test_a_round_is_conclusive_as_soon_as_it_cannot_become_suspicious(witnesses: int, silent: int) -> None:
    silent = min(silent, witnesses)
    round_ = PingRound(witnesses)
    clear = [round_.conclusive]
    for _ in range(witnesses - silent):
        round_.answered()
        clear.append(round_.conclusive)
    for _ in range(silent):
        round_.missed(late=False)
        clear.append(round_.conclusive)
    assert round_.suspicious == (silent >= MIN_MISSED and silent > witnesses / 2)
    assert round_.conclusive is not round_.suspicious
    assert clear == sorted(clear), "a conclusive round stays so"


def test_self_preservation_ends_after_its_limit_and_a_round_without_suspicion_resets_it() -> None:
    self_preservation = SelfPreservation(2)

    def silence() -> bool:
        round_ = PingRound(4)
        for _ in range(4):
            round_.missed(late=False)
        return self_preservation.accept(suspicious=round_.suspicious, has_leases=True)

    assert [silence() for _ in range(4)] == [False, False, True, True]
    assert not self_preservation.active
    assert self_preservation.accept(suspicious=PingRound(4).suspicious, has_leases=True)
    assert [silence() for _ in range(3)] == [False, False, True]


def test_rounds_without_leases_are_not_counted() -> None:
    self_preservation = SelfPreservation(1)
    for _ in range(5):
        assert not self_preservation.accept(suspicious=True, has_leases=False)
        assert self_preservation.active
    assert not self_preservation.accept(suspicious=True, has_leases=True)
    assert self_preservation.accept(suspicious=True, has_leases=True)


async def test_when_all_instances_miss_their_pings_none_is_suspect_for_as_many_rounds_as_make_a_removal() -> None:
    entries, probe, pinger, state = fleet_of(5)
    probe.hanging = {entry.id for entry in entries}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep((MISSES - 1) * PERIOD + TIMEOUT + 0.1)
        assert states(state) == [LIVE] * 5
        assert is_active(pinger)
        await anyio.sleep(PERIOD)
        assert states(state) == [SUSPECT] * 5
        assert not is_active(pinger)
        await anyio.sleep((MISSES - 1) * PERIOD)
        assert states(state) == []
        tg.cancel_scope.cancel()


async def test_when_the_network_is_back_the_lists_are_unchanged() -> None:
    entries, probe, pinger, state = fleet_of(4)
    version = state.version
    probe.hanging = {entry.id for entry in entries}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(2 * PERIOD)
        assert is_active(pinger)
        probe.hanging = set()
        await anyio.sleep(PERIOD + 0.1)
        assert not is_active(pinger)
        assert state.version == version
        tg.cancel_scope.cancel()


@pytest.mark.parametrize(("silent", "count"), [(2, 2), (2, 3), (3, 6), (5, 10)])
async def test_misses_of_few_or_half_of_the_instances_count_at_once(silent: int, count: int) -> None:
    entries, probe, pinger, state = fleet_of(count)
    probe.hanging = {entry.id for entry in entries[:silent]}
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == silent
    assert not pinger.self_preservation.active


async def test_the_miss_of_one_counts_at_its_timeout_before_the_round_is_over() -> None:
    entries, probe, pinger, state = fleet_of(4)
    probe.results[entries[0].id] = PingMissed("no route to host")
    probe.hanging = {entries[1].id}  # the round is not over for a while
    await run_for(pinger, 0.1)
    assert states(state).count(SUSPECT) == 1


async def test_refused_connections_and_error_replies_are_not_missed_pings() -> None:
    entries, probe, pinger, state = fleet_of(5)
    for entry in entries[:4]:
        probe.results[entry.id] = PingRejected("connection refused")
    await run_for(pinger, 0.1)
    assert len(states(state)) == 1
    entries, probe, pinger, state = fleet_of(5)
    for entry in entries[:4]:
        probe.results[entry.id] = PingMissed("it answered 401", replied=True)
    await run_for(pinger, 0.1)
    assert states(state).count(SUSPECT) == 4


async def test_instances_that_missed_their_last_ping_do_not_vote() -> None:
    entries, probe, pinger, state = fleet_of(8)
    dead = entries[:4]
    probe.hanging = {entry.id for entry in dead}
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == 4, "half of them"
    probe.hanging.add(entries[4].id)
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == 5, "one miss of four voters counts"


async def test_a_timeout_noticed_late_is_not_counted_as_a_miss() -> None:
    entries, probe, pinger, state = fleet_of(1)
    probe.hanging = {entries[0].id}
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(1)
        clock.jump(TIMEOUT + LATE_AFTER + 1)
        await anyio.sleep(0.1)
        assert states(state) == [LIVE]
        assert is_active(pinger)
        await anyio.sleep(PERIOD)
        assert states(state) == [SUSPECT], "this miss was noticed in time"
        tg.cancel_scope.cancel()


async def test_a_registry_without_leases_in_self_preservation_pings_a_sample() -> None:
    entries, probe, state = (
        [entry_of() for _ in range(20)],
        ScriptedProbe(),
        RegistryState(misses=MISSES, clock=anyio.current_time),
    )
    for entry in entries:
        state.login(entry)
        state.leases.renew({entry.id: 1 for entry in entries})
        target = state.target(entry.id)
        assert target is not None
        state.pinged(target, PingOk())
    pinger = Pinger(state, probe, period=PERIOD, timeout=TIMEOUT, owned=state.leases, rng=NoJitter())
    probe.hanging = {entry.id for entry in entries}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(TIMEOUT + 0.1)
        assert is_active(pinger)
        state.leases.renew({})  # other registries hold the leases now
        probe.pinged.clear()
        await anyio.sleep(6 * PERIOD)
        assert len(probe.pinged) == 6 * 8
        assert is_active(pinger), "for as long as it has no leases"
        assert states(state) == [LIVE] * 20
        probe.hanging = set()
        await anyio.sleep(PERIOD)
        assert not is_active(pinger)
        assert not state.leases.unreported
        tg.cancel_scope.cancel()


MANY = 640


async def test_the_pings_of_a_large_fleet_are_spread_and_each_instance_keeps_its_place() -> None:
    entries, probe, pinger, _ = fleet_of(MANY)
    began = anyio.current_time()
    await run_for(pinger, 3 * PERIOD)
    starts = sorted({when - began for when, _ in probe.pinged if when < began + PERIOD})
    spread = (PERIOD - TIMEOUT) * SPREAD
    assert len(starts) == MANY // SLICE_SIZE
    assert starts[-1] == pytest.approx(spread * (1 - 1 / len(starts)))
    assert all(later - earlier == pytest.approx(spread / len(starts)) for earlier, later in pairwise(starts))
    for entry in entries:
        first, *later = probe.times(entry.id)
        assert later == pytest.approx([first + PERIOD, first + 2 * PERIOD])
    assert pinger.late_beats == 0


async def test_a_miss_in_a_large_fleet_counts_once_most_of_its_slice_has_answered() -> None:
    entries, probe, pinger, state = fleet_of(MANY)
    dead = entries[0].id
    probe.hanging = {dead}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        while not probe.times(dead):
            await anyio.sleep(0.01)
        (pinged_at,) = probe.times(dead)
        await anyio.sleep_until(pinged_at + TIMEOUT - 0.01)
        assert state.instance(dead).state is LIVE  # type: ignore[union-attr]  # it is listed
        await anyio.sleep_until(pinged_at + TIMEOUT + 0.01)
        assert state.instance(dead).state is SUSPECT  # type: ignore[union-attr]  # it is listed
        tg.cancel_scope.cancel()


@pytest.mark.parametrize("back", [False, True], ids=["until the end", "for a moment"])
async def test_a_network_that_is_lost_in_the_middle_of_a_round_makes_no_instance_suspect(back: bool) -> None:
    entries, probe, pinger, state = fleet_of(MANY)
    others = entries[1:]
    dead = entries[0].id
    probe.hanging = {dead}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(2)
        probe.hanging = {entry.id for entry in entries}
        if back:
            await anyio.sleep(2)
            probe.hanging = {dead}
        await anyio.sleep_until(anyio.current_time() + PERIOD - (4 if back else 2) - 0.1)
        left = [entry for entry in others if state.instance(entry.id).state is not LIVE]  # type: ignore[union-attr]
        assert not left
        assert is_active(pinger)
        probe.hanging = {dead}
        await anyio.sleep(3 * PERIOD)
        assert not is_active(pinger)
        assert states(state) == [LIVE] * len(others), "only the dead one is gone"
        tg.cancel_scope.cancel()


async def test_half_of_a_large_fleet_may_die_at_once() -> None:
    entries, probe, pinger, state = fleet_of(MANY)
    probe.hanging = {entry.id for entry in entries[::2]}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(PERIOD - 0.1)
        assert not is_active(pinger)
        assert {entry.id for entry in entries if state.instance(entry.id).state is SUSPECT} == probe.hanging  # type: ignore[union-attr]
        tg.cancel_scope.cancel()


async def test_a_group_of_pings_that_begins_late_is_counted() -> None:
    _, _, pinger, _ = fleet_of(MANY)
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(1)
        clock = cast("MockClock", trio.lowlevel.current_clock())
        clock.jump(LATE_BEAT + 1)  # all loops of the process sleep through their times, as in a suspension
        await anyio.wait_all_tasks_blocked()
        assert pinger.late_beats > 0
        tg.cancel_scope.cancel()
