from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest
import trio.testing
from typing_extensions import override

from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult, PingTarget
from hub.registry.core.state import RegistryState
from hub.registry.tasks.pinger import Pinger, Probe
from hub.types import InstanceId, InstanceState
from tests.registry.fakes import ScriptedProbe
from tests.registry.helpers import entry_of

PERIOD, TIMEOUT = 10.0, 3.0


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class NoJitter(random.Random):
    """Starts the first beat at once."""

    @override
    def uniform(self, a: float, b: float) -> float:
        return a


def pinger_of(
    *entries: InstanceEntry,
    probe: Probe,
    timeout: float = TIMEOUT,
    concurrency: int = 256,
    observe: Callable[[PingResult, float], None] = lambda result, seconds: None,  # noqa: ARG005
    rng: random.Random | None = None,
) -> tuple[Pinger, RegistryState]:
    state = RegistryState(clock=anyio.current_time)
    for entry in entries:
        state.login(entry)
    pinger = Pinger(
        state,
        probe,
        period=PERIOD,
        timeout=timeout,
        concurrency=concurrency,
        observe=observe,
        rng=rng or NoJitter(),
    )
    return pinger, state


async def run_for(pinger: Pinger, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        await pinger.run()


def state_of(state: RegistryState, instance: InstanceId) -> InstanceState | None:
    status = state.instance(instance)
    return None if status is None else status.state


async def test_every_instance_is_pinged_once_a_period_on_an_absolute_schedule() -> None:
    probe, entries = ScriptedProbe(), [entry_of() for _ in range(3)]
    pinger, _ = pinger_of(*entries, probe=probe)
    start = anyio.current_time()
    await run_for(pinger, 1000 * PERIOD + 1)
    for entry in entries:
        assert probe.times(entry.id) == [start + PERIOD * beat for beat in range(1001)]


async def test_an_instance_that_never_answers_does_not_delay_the_others() -> None:
    silent, other = entry_of(), entry_of()
    probe = ScriptedProbe(hanging={silent.id})
    pinger, _ = pinger_of(silent, other, probe=probe)
    start = anyio.current_time()
    await run_for(pinger, 2 * PERIOD + 1)
    assert probe.times(other.id) == [start, start + PERIOD, start + 2 * PERIOD]


async def test_a_missed_ping_makes_an_instance_suspect_and_the_third_removes_it() -> None:
    silent = entry_of()
    probe = ScriptedProbe(hanging={silent.id})
    pinger, state = pinger_of(silent, probe=probe)
    state.pinged(state.targets()[0], PingOk())
    await run_for(pinger, TIMEOUT - 0.1)
    assert state_of(state, silent.id) is InstanceState.LIVE
    pinger, state = pinger_of(silent, probe=probe)
    await run_for(pinger, 2 * PERIOD + TIMEOUT - 0.1)
    assert state_of(state, silent.id) is InstanceState.SUSPECT
    pinger, state = pinger_of(silent, probe=probe)
    await run_for(pinger, 2 * PERIOD + TIMEOUT + 0.1)
    assert state_of(state, silent.id) is None
    assert state.leases.has_finding(silent.id)


async def test_a_dead_instance_is_suspect_within_one_period() -> None:
    for died_after in (0.1, 3.3, 9.9):
        entry = entry_of()
        probe = ScriptedProbe()
        pinger, state = pinger_of(entry, probe=probe, rng=random.Random(died_after))
        async with anyio.create_task_group() as tg:
            tg.start_soon(pinger.run)
            await anyio.sleep(PERIOD + died_after)
            assert state_of(state, entry.id) is InstanceState.LIVE
            probe.results[entry.id] = PingRejected("connection refused")
            await anyio.sleep(PERIOD)
            assert state_of(state, entry.id) is None
            tg.cancel_scope.cancel()


async def test_a_suspect_is_back_with_its_next_answer() -> None:
    entry = entry_of()
    probe = ScriptedProbe(results={entry.id: PingMissed("silence")})
    pinger, state = pinger_of(entry, probe=probe)
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(PERIOD + 1)
        assert state_of(state, entry.id) is InstanceState.SUSPECT
        del probe.results[entry.id]
        await anyio.sleep(PERIOD)
        assert state_of(state, entry.id) is InstanceState.LIVE
        tg.cancel_scope.cancel()


async def test_a_newcomer_joins_the_next_beat() -> None:
    probe, newcomer = ScriptedProbe(), entry_of()
    pinger, state = pinger_of(probe=probe)
    start = anyio.current_time()
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(1.5 * PERIOD)
        state.login(newcomer)
        await anyio.sleep(PERIOD)
        tg.cancel_scope.cancel()
    assert probe.times(newcomer.id) == [start + 2 * PERIOD]


async def test_the_first_beat_is_somewhere_in_the_first_period() -> None:
    offsets: list[float] = []
    for seed in range(20):
        entry, probe = entry_of(), ScriptedProbe()
        pinger, _ = pinger_of(entry, probe=probe, rng=random.Random(seed))
        start = anyio.current_time()
        await run_for(pinger, PERIOD)
        offsets.append(probe.times(entry.id)[0] - start)
    assert all(0 <= offset <= PERIOD for offset in offsets)
    assert max(offsets) - min(offsets) > PERIOD / 2


async def test_beats_missed_during_a_suspension_are_left_out() -> None:
    probe, entry = ScriptedProbe(), entry_of()
    pinger, _ = pinger_of(entry, probe=probe)
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    start = anyio.current_time()
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(1)
        clock.jump(5.5 * PERIOD)  # a suspended machine
        await anyio.sleep(1.5 * PERIOD)
        tg.cancel_scope.cancel()
    assert probe.times(entry.id) == [start, start + 1 + 5.5 * PERIOD, start + 1 + 6.5 * PERIOD]


async def test_concurrent_pings_are_limited_and_all_are_made() -> None:
    entries = [entry_of() for _ in range(7)]
    probe = ScriptedProbe(hanging={entry.id for entry in entries})
    pinger, state = pinger_of(*entries, probe=probe, concurrency=3)
    start = anyio.current_time()
    await pinger.ping_all(state.targets())
    assert [when - start for when, _ in probe.pinged] == [0.0] * 3 + [TIMEOUT] * 3 + [2 * TIMEOUT]


async def test_an_instance_with_a_ping_in_flight_is_left_out_of_a_beat() -> None:
    probe = ScriptedProbe()
    entries = [entry_of() for _ in range(8)]
    probe.hanging = {entry.id for entry in entries}
    pinger, _ = pinger_of(*entries, probe=probe, concurrency=1)  # 24 s of pings in a period of 10
    await run_for(pinger, 23)
    assert max(len(probe.times(entry.id)) for entry in entries) == 1


async def test_results_are_observed_with_their_duration() -> None:
    seen: list[tuple[PingResult, float]] = []
    silent, other = entry_of(), entry_of()
    pinger, state = pinger_of(
        silent,
        other,
        probe=ScriptedProbe(hanging={silent.id}),
        observe=lambda result, seconds: seen.append((result, seconds)),
    )
    await pinger.ping_all(state.targets())
    assert sorted((type(result).__name__, seconds) for result, seconds in seen) == [("PingMissed", 3), ("PingOk", 0)]


async def test_a_cancelled_ping_records_nothing() -> None:
    silent = entry_of()
    pinger, state = pinger_of(silent, probe=ScriptedProbe(hanging={silent.id}))
    version = state.version
    with anyio.move_on_after(1) as scope:
        await pinger.ping(state.targets()[0], scheduled=True)
    assert scope.cancelled_caught
    status = state.instance(silent.id)
    assert status is not None
    assert (status.misses, state.version) == (0, version)


async def test_a_result_for_an_instance_that_left_meanwhile_is_dropped() -> None:
    entry = entry_of()
    state = RegistryState(clock=anyio.current_time)
    state.login(entry)

    async def probe(entry: InstanceEntry) -> PingResult:
        await anyio.sleep(1)
        state.logout(entry.id)
        return PingOk()

    pinger = Pinger(state, probe, period=PERIOD, timeout=TIMEOUT)
    target: PingTarget = state.targets()[0]
    assert await pinger.ping(target) == PingOk()
    assert state.instances() == ()


async def test_an_instance_whose_scheduled_ping_is_in_flight_is_not_pinged_again_after_another_ping_of_it() -> None:
    entry, started = entry_of(), list[float]()

    async def first_ping_hangs(_entry: InstanceEntry) -> PingResult:
        started.append(anyio.current_time())
        if len(started) == 1:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return PingOk()

    pinger, state = pinger_of(entry, probe=first_ping_hangs, timeout=1.5 * PERIOD)
    start = anyio.current_time()
    async with anyio.create_task_group() as tg:
        tg.start_soon(pinger.run)
        await anyio.sleep(PERIOD / 2)
        await pinger.ping(state.targets()[0])  # as at a login
        await anyio.sleep(PERIOD)
        tg.cancel_scope.cancel()
    assert started == [start, start + PERIOD / 2], "the beat after one period leaves it out"
