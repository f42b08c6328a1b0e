"""The ping loop."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from math import floor
from typing import Final, final

import structlog
from anyio import CapacityLimiter, create_task_group, current_time, move_on_after, sleep_until
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingMissed, PingResult, PingTarget
from hub.registry.core.self_preservation import PingRound, SelfPreservation
from hub.registry.core.state import RegistryState
from hub.registry.core.table import DEFAULT_MISSES
from hub.types import InstanceId, InstanceState, ModelName, ReadinessSource, WallClock, wall_clock

CONCURRENT_PINGS: Final = 256
"""Pings at a time. With all of them waiting for their timeout, 1,000 silent instances still fit into one period."""

LATE: Final = 0.5
"""Seconds by which a timeout may be noticed late. More, and this process was stopped or starved: an answer may have
come in time, and nobody was there to read it."""

SAMPLE: Final = 8
"""Instances that a registry pings while it doubts itself and others judge: to learn whether its network is back."""

Probe = Callable[[InstanceEntry], Awaitable[PingResult]]
"""Pings one instance. Network trouble is a result, not an error; the pinger limits its time."""

PingObserver = Callable[[PingResult, float], None]
"""Told of each result, with the seconds that the ping took."""

_log = structlog.get_logger("hub.registry.pinger")


@final
class AllInstances(Container[InstanceId]):
    """The instances of a registry that shares with nobody."""

    @override
    def __contains__(self, instance: object) -> bool:
        return True


async def _ask_nobody(_entry: InstanceEntry) -> None:
    await checkpoint()


@final
class Pinger:
    """Pings every instance that is ours once a period, all at once, each on its own: a slow one delays nobody.

    Results are taken in as they come. Only silence waits until it is clear that it is not that of most instances at
    once, at the latest until the end of the round; see `hub.registry.core.self_preservation`.

    Args:
        roll: Whom to ping, and where the results go.
        probe: Carries out one ping.
        period: Seconds between two pings of one instance. The schedule is absolute: a slow beat does not shift the next,
            and beats that were slept through (a suspended machine) are left out.
        timeout: Seconds that one ping may take.
        mine: Whose results count. By default everybody's.
        misses: Rounds of doubt in a row at most.
        resubscribe: Asks an instance that consumes nothing to subscribe again; at most once a period.
        concurrency: Pings at a time.
        observe: Told of each result.
        clock: Where Unix time comes from.
        rng: Shifts the first beat by a part of the period, so that registries do not march in step.
    """

    def __init__(
        self,
        roll: RegistryState,
        probe: Probe,
        *,
        period: float,
        timeout: float,
        mine: Container[InstanceId] = AllInstances(),
        misses: int = DEFAULT_MISSES,
        resubscribe: Callable[[InstanceEntry], Awaitable[None]] = _ask_nobody,
        concurrency: int = CONCURRENT_PINGS,
        observe: PingObserver = lambda result, seconds: None,  # noqa: ARG005
        clock: WallClock = wall_clock,
        rng: random.Random | None = None,
    ) -> None:
        self._roll = roll
        self._probe = probe
        self._period = period
        self._timeout = timeout
        self._mine = mine
        self._resubscribe = resubscribe
        self._concurrency = concurrency
        self._observe = observe
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._limiter: CapacityLimiter | None = None
        self._in_flight = Counter[int]()
        self._resubscribes: Counter[ModelName] = Counter()
        self.doubt: Final = SelfPreservation(misses)

    @property
    def in_flight(self) -> int:
        """Instances with a ping that waits for its turn, for a reply, or for the decision whether its miss counts."""
        return len(self._in_flight)

    @property
    def resubscribes(self) -> Mapping[ModelName, int]:
        """How often instances were asked to subscribe again, by model."""
        return self._resubscribes

    def forget(self, model: ModelName) -> None:
        """Drops the count of a model that is known no more."""
        self._resubscribes.pop(model, None)

    async def ping(self, target: PingTarget, *, scheduled: bool = False, orphan: bool = False) -> PingResult:
        """Pings one instance now, takes in the result and returns it. Cancelled, it takes in nothing.

        Args:
            target: Whom to ping.
            scheduled: Whether a miss counts; see `Table.pinged`.
            orphan: Whether the result counts even if the instance is not ours.
        """
        with self._counted([target]):
            result, _ = await self._measure(target)
            self._record(target, result, scheduled=scheduled, orphan=orphan)
            return result

    async def ping_all(self, targets: Iterable[PingTarget]) -> None:
        """Pings several instances at once and returns when each has its result."""
        async with create_task_group() as tg:
            for target in targets:
                tg.start_soon(self.ping, target, name=f"hub.registry ping {target.entry.id}")

    async def round(self, targets: Sequence[PingTarget]) -> None:
        """Pings several instances as a beat does, with all its consequences, and returns when it is over."""
        async with create_task_group() as tg:
            await self._round(targets, tg)

    async def run(self) -> None:
        """Pings until cancelled. An instance whose last ping is still under way is left out of a beat."""
        due = current_time() + self._rng.uniform(0, self._period)
        async with create_task_group() as tg:
            while True:
                await sleep_until(due)
                tg.start_soon(self._round, self._targets(), tg, name="hub.registry round of pings")
                due += self._period * (1 + floor((current_time() - due) / self._period))

    def _targets(self) -> Sequence[PingTarget]:
        targets = self._roll.table.targets()
        ours = [target for target in targets if target.entry.id in self._mine]
        if not ours and self.doubt.holds:
            ours = self._rng.sample(targets, min(SAMPLE, len(targets)))
        return [target for target in ours if target.serial not in self._in_flight]

    @contextmanager
    def _counted(self, targets: Iterable[PingTarget]) -> Generator[Callable[[PingTarget], None]]:
        """Counts pings as in flight, until the function that it yields is called with their target or the block ends."""
        left = {target.serial for target in targets}
        self._in_flight.update(left)

        def finished(target: PingTarget) -> None:
            if target.serial in left:
                left.remove(target.serial)
                self._in_flight[target.serial] -= 1
                if not self._in_flight[target.serial]:
                    del self._in_flight[target.serial]

        try:
            yield finished
        finally:
            self._in_flight -= Counter(left)  # which drops what is 0

    async def _round(self, targets: Sequence[PingTarget], group: TaskGroup) -> None:
        round_ = PingRound(sum(map(self._is_witness, targets)))
        silent: list[tuple[PingTarget, PingResult]] = []
        with self._counted(targets) as finished:
            async with create_task_group() as tg:
                for target in targets:
                    name = f"hub.registry ping {target.entry.id}"
                    tg.start_soon(self._beat, target, round_, silent, finished, group, name=name)
            held, judging = self.doubt.holds, any(target.entry.id in self._mine for target in targets)
            if self.doubt.believe(round_, judging=judging):
                self._believe(silent, finished)
            if self.doubt.holds is not held:
                _log.warning("most instances are silent at once: is it our network?" if not held else "doubt is over")

    async def _beat(
        self,
        target: PingTarget,
        round_: PingRound,
        silent: list[tuple[PingTarget, PingResult]],
        finished: Callable[[PingTarget], None],
        group: TaskGroup,
    ) -> None:
        witness = self._is_witness(target)
        result, late = await self._measure(target)
        if isinstance(result, PingMissed) and not result.heard:
            silent.append((target, result))
            if witness:
                round_.fell_silent(late=late)
        else:
            if witness:
                round_.heard()
            self._record(target, result, scheduled=True)
            finished(target)
            self._ask_if_deaf(target, group)
        if round_.clear:
            self._believe(silent, finished)

    def _believe(self, silent: list[tuple[PingTarget, PingResult]], finished: Callable[[PingTarget], None]) -> None:
        for target, result in silent:
            self._record(target, result, scheduled=True)
            finished(target)
        silent.clear()

    def _is_witness(self, target: PingTarget) -> bool:
        status = self._roll.table.instance(target.entry.id)
        return status is not None and status.answered_at is not None and status.state is not InstanceState.SUSPECT

    async def _measure(self, target: PingTarget) -> tuple[PingResult, bool]:
        """One ping: what came of it, and whether its time was up long before we noticed."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._concurrency)  # belongs to an event loop, so not made in __init__
        async with self._limiter:
            started = current_time()
            result: PingResult = PingMissed(f"no answer within {self._timeout:g} s")
            with move_on_after(self._timeout):
                result = await self._probe(target.entry)
            took = current_time() - started
        self._observe(result, took)
        return result, took > self._timeout + LATE

    def _record(self, target: PingTarget, result: PingResult, *, scheduled: bool, orphan: bool = False) -> None:
        if not orphan and target.entry.id not in self._mine:
            return
        self._roll.apply(self._roll.table.pinged(target, result, now=self._clock(), scheduled=scheduled))
        self._roll.holdings.found(target.entry.id)

    def _ask_if_deaf(self, target: PingTarget, group: TaskGroup) -> None:
        entry = target.entry
        status = self._roll.table.instance(entry.id)
        if (
            status is not None
            and status.not_consuming_source in (ReadinessSource.PING, ReadinessSource.BROKER)
            and entry.id in self._mine
        ):
            self._resubscribes[entry.model] += 1
            _log.warning("asking it to subscribe again", instance=entry.id, model=entry.model, reason=status.reason)
            group.start_soon(self._ask, entry, name=f"hub.registry resubscribe {entry.id}")

    async def _ask(self, entry: InstanceEntry) -> None:
        with move_on_after(self._timeout):
            await self._resubscribe(entry)
