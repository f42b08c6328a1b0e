"""Silence of most instances at once, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
import trio.testing
from hypothesis import given, strategies as st

from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected
from hub.registry.core.self_preservation import MIN_MISSED, PingRound, SelfPreservation
from hub.registry.core.state import RegistryState
from hub.registry.tasks.pinger import LATE_AFTER, Pinger
from hub.types import InstanceState
from tests.registry.support import ScriptedProbe, entry_of
from tests.registry.test_pinger import PERIOD, TIMEOUT, NoJitter, run_for

LIVE, SUSPECT = InstanceState.LIVE, InstanceState.SUSPECT
MISSES = 3


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


def stage(count: int) -> tuple[Sequence[InstanceEntry], ScriptedProbe, Pinger, RegistryState]:
    """That many live instances."""
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


def doubts(pinger: Pinger) -> bool:
    return pinger.self_preservation.active


def states(state: RegistryState) -> list[InstanceState]:
    return [status.state for status in state.instances()]


@given(witnesses=st.integers(0, 12), silent=st.integers(0, 12))
def test_a_round_is_clear_as_soon_as_it_cannot_become_doubtful_any_more(witnesses: int, silent: int) -> None:
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
    assert clear == sorted(clear), "what is clear stays clear"


def test_doubt_is_bounded_and_a_clear_round_makes_it_new() -> None:
    self_preservation = SelfPreservation(2)

    def silence() -> bool:
        round_ = PingRound(4)
        for _ in range(4):
            round_.missed(late=False)
        return self_preservation.accept(round_, has_leases=True)

    assert [silence() for _ in range(4)] == [False, False, True, True]
    assert not self_preservation.active
    assert self_preservation.accept(PingRound(4), has_leases=True)
    assert [silence() for _ in range(3)] == [False, False, True]


def test_rounds_in_which_others_judge_are_not_counted() -> None:
    self_preservation, round_ = SelfPreservation(1), PingRound(3)
    for _ in range(3):
        round_.missed(late=False)
    for _ in range(5):
        assert not self_preservation.accept(round_, has_leases=False)
        assert self_preservation.active
    assert not self_preservation.accept(round_, has_leases=True)
    assert self_preservation.accept(round_, has_leases=True)


async def test_when_everybody_falls_silent_nobody_is_suspect_for_as_many_rounds_as_make_a_removal() -> None:
    entries, probe, pinger, state = stage(5)
    probe.hanging = {entry.id for entry in entries}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep((MISSES - 1) * PERIOD + TIMEOUT + 0.1)
        assert states(state) == [LIVE] * 5
        assert doubts(pinger)
        await anyio.sleep(PERIOD)
        assert states(state) == [SUSPECT] * 5
        assert not doubts(pinger)
        await anyio.sleep((MISSES - 1) * PERIOD)
        assert states(state) == []
        tg.cancel_scope.cancel()


async def test_when_the_network_is_back_all_is_as_if_nothing_had_been() -> None:
    entries, probe, pinger, state = stage(4)
    version = state.version
    probe.hanging = {entry.id for entry in entries}
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(2 * PERIOD)
        assert doubts(pinger)
        probe.hanging = set()
        await anyio.sleep(PERIOD + 0.1)
        assert not doubts(pinger)
        assert state.version == version
        tg.cancel_scope.cancel()


@pytest.mark.parametrize(("silent", "count"), [(2, 2), (2, 3), (3, 6), (5, 10)])
async def test_few_or_half_of_them_are_believed_at_once(silent: int, count: int) -> None:
    entries, probe, pinger, state = stage(count)
    probe.hanging = {entry.id for entry in entries[:silent]}
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == silent
    assert not pinger.self_preservation.active


async def test_the_silence_of_one_is_believed_at_its_timeout_and_waits_for_nobody() -> None:
    entries, probe, pinger, state = stage(4)
    probe.results[entries[0].id] = PingMissed("no route to host")
    probe.hanging = {entries[1].id}  # the round is not over for a while
    await run_for(pinger, 0.1)
    assert states(state).count(SUSPECT) == 1


async def test_refused_connections_are_no_silence() -> None:
    entries, probe, pinger, state = stage(5)
    for entry in entries[:4]:
        probe.results[entry.id] = PingRejected("connection refused")
    await run_for(pinger, 0.1)
    assert len(states(state)) == 1
    entries, probe, pinger, state = stage(5)
    for entry in entries[:4]:
        probe.results[entry.id] = PingMissed("it answered 401", replied=True)
    await run_for(pinger, 0.1)
    assert states(state).count(SUSPECT) == 4


async def test_those_who_were_silent_before_are_no_witnesses() -> None:
    entries, probe, pinger, state = stage(8)
    dead = entries[:4]
    probe.hanging = {entry.id for entry in dead}
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == 4, "half of them"
    probe.hanging.add(entries[4].id)
    await run_for(pinger, TIMEOUT + 0.1)
    assert states(state).count(SUSPECT) == 5, "the silence of one in four is no reason to self_preservation"


async def test_a_process_that_was_stopped_does_not_take_its_own_delay_for_silence() -> None:
    entries, probe, pinger, state = stage(1)
    probe.hanging = {entries[0].id}
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(1)
        clock.jump(TIMEOUT + LATE_AFTER + 1)
        await anyio.sleep(0.1)
        assert states(state) == [LIVE]
        assert doubts(pinger)
        await anyio.sleep(PERIOD)
        assert states(state) == [SUSPECT], "this time it was silent while somebody listened"
        tg.cancel_scope.cancel()


async def test_a_registry_that_doubts_itself_and_judges_nobody_asks_a_few_whether_its_network_is_back() -> None:
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
        assert doubts(pinger)
        state.leases.renew({})  # the others judge now
        probe.pinged.clear()
        await anyio.sleep(6 * PERIOD)
        assert len(probe.pinged) == 6 * 8
        assert doubts(pinger), "however long: others judge"
        assert states(state) == [LIVE] * 20
        probe.hanging = set()
        await anyio.sleep(PERIOD)
        assert not doubts(pinger)
        assert not state.leases.unreported
        tg.cancel_scope.cancel()
