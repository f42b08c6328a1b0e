"""The ping loop."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Final, final

import structlog
from anyio import CapacityLimiter, create_task_group, current_time, move_on_after, sleep, sleep_until
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.concurrency.periodic import every
from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingMissed, PingResult, PingTarget
from hub.registry.core.self_preservation import PingRound, SelfPreservation
from hub.registry.core.state import RegistryState
from hub.registry.core.table import DEFAULT_MISSES
from hub.types import InstanceId, InstanceState, ModelName, ReadinessSource

CONCURRENT_PINGS: Final = 1024
"""Pings at a time. With all of them waiting for their timeout, 3,000 silent instances still fit into one period."""

SPREAD: Final = 0.9
"""The pings of a round begin within this share of the period less the timeout, so that a round is over before the next."""

SLICE_INTERVAL: Final = 0.1
"""Seconds between the starts of two slices of a round, at least: between them the event loop does everything else."""

SLICE_SIZE: Final = 32
"""Instances of a slice, at least: a round of fewer is one slice."""

SLICE_VOTERS: Final = 8
"""Voters in a slice below which only the whole round decides whether its misses count."""

LATE_BEAT: Final = 1.0
"""Seconds after its time at which the start of a slice is counted as late."""

LATE_AFTER: Final = 0.5
"""Seconds after a timeout at which it counts as noticed late: this process was suspended or starved, and a reply may have
come in time without being read."""

STANDBY_SAMPLE: Final = 8
"""Instances that a registry without leases pings in self-preservation, to find out whether its network is back."""

Probe = Callable[[InstanceEntry], Awaitable[PingResult]]
"""Pings one instance. Network trouble is a result, not an error; the pinger bounds its time."""

PingObserver = Callable[[PingResult, float], None]
"""Called with each result and the seconds that the ping took."""

_log = structlog.get_logger("hub.registry.pinger")


@final
class AllInstances(Container[InstanceId]):
    """The instances of a registry that does not share its directory."""

    @override
    def __contains__(self, instance: object) -> bool:
        return True


async def _no_op(_entry: InstanceEntry) -> None:
    await checkpoint()


@dataclass(eq=False)
class _Slice:
    """The pings of a round that begin together.

    Attributes:
        votes: Decides when the misses of the slice count; `None` if too few vote, and the end of the round decides.
        missed: Misses that do not count yet.
    """

    targets: Sequence[PingTarget]
    votes: PingRound | None
    missed: list[tuple[PingTarget, PingResult]] = field(default_factory=list[tuple[PingTarget, PingResult]])


@dataclass
class _Round:
    """One round of pings in progress.

    Attributes:
        votes: Those of all slices.
        finished: Marks the ping of a target as no longer in flight.
    """

    votes: PingRound
    slices: Sequence[_Slice]
    finished: Callable[[PingTarget], None]

    @property
    def missed(self) -> int:
        """Misses that do not count yet."""
        return sum(len(each.missed) for each in self.slices)

    @property
    def silent(self) -> Sequence[_Slice]:
        """The slices of several in which no voter has answered: this process had no network when their pings were sent."""
        return [each for each in self.slices if each.votes is not None and each.votes.silent] if self.slices[1:] else []


@final
class Pinger:
    """Pings every instance that this registry has leased once a period, concurrently, so a slow one delays no other.

    The pings of a large fleet are spread over the period, in slices that an instance keeps its place in. Results are
    applied as they arrive. Only misses are held back until it is clear that they are not those of most instances at
    once: until most of the slice has answered, at the latest until the end of the round; see
    `hub.registry.core.self_preservation`.

    Args:
        state: The instances, and where the results go.
        probe: Carries out one ping.
        period: Seconds between two pings of one instance. The schedule is absolute: a slow beat does not shift the
            next, and missed beats (of a suspended machine) are left out.
        timeout: Seconds for one ping.
        owned: Instances whose results count. By default all.
        misses: Rounds in self-preservation in a row at most.
        resubscribe: Asks an instance that does not consume to subscribe again; called at most once a period for each.
        concurrency: Pings at a time.
        observe: Called with each result.
        rng: Delays the first beat by a part of the period, so that registries do not ping at the same moments.
    """

    def __init__(
        self,
        state: RegistryState,
        probe: Probe,
        *,
        period: float,
        timeout: float,
        owned: Container[InstanceId] = AllInstances(),
        misses: int = DEFAULT_MISSES,
        resubscribe: Callable[[InstanceEntry], Awaitable[None]] = _no_op,
        concurrency: int = CONCURRENT_PINGS,
        observe: PingObserver = lambda result, seconds: None,  # noqa: ARG005
        rng: random.Random | None = None,
    ) -> None:
        self._state = state
        self._probe = probe
        self._period = period
        self._timeout = timeout
        self._owned = owned
        self._resubscribe = resubscribe
        self._concurrency = concurrency
        self._observe = observe
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._limiter: CapacityLimiter | None = None
        self._spread = max(0.0, period - timeout) * SPREAD
        self._late_beats = 0
        self._in_flight = Counter[int]()
        self._resubscribes: Counter[ModelName] = Counter()
        self.self_preservation: Final = SelfPreservation(misses)

    @property
    def in_flight(self) -> int:
        """Instances with a ping that waits for its turn, for a reply, or for the decision whether its miss counts."""
        return len(self._in_flight)

    @property
    def late_beats(self) -> int:
        """How often pings began more than `LATE_BEAT` after their time, because this process was busy or suspended."""
        return self._late_beats

    @property
    def resubscribes(self) -> Mapping[ModelName, int]:
        """How often instances were asked to subscribe again, by model."""
        return self._resubscribes

    def forget(self, model: ModelName) -> None:
        """Drops the count of a model that is no longer known."""
        self._resubscribes.pop(model, None)

    async def ping(self, target: PingTarget, *, scheduled: bool = False, orphan: bool = False) -> PingResult:
        """Pings one instance now, applies the result and returns it. Cancelled, it applies nothing.

        Args:
            target: The instance.
            scheduled: Whether a miss counts; see `RegistryState.pinged`.
            orphan: Whether the result counts even if this registry has not leased the instance.
        """
        with self._counted([target]):
            result, _ = await self._measure(target)
            self._record(target, result, scheduled=scheduled, orphan=orphan)
            return result

    async def ping_all(self, targets: Iterable[PingTarget]) -> None:
        """Pings several instances at once, and returns when each has its result."""
        async with create_task_group() as tg:
            for target in targets:
                tg.start_soon(self.ping, target, name=f"hub.registry ping {target.entry.id}")

    async def ping_round(self, targets: Sequence[PingTarget]) -> None:
        """Pings several instances in one round, as a beat does but all at once, and returns when it is over."""
        async with create_task_group() as tg:
            await self._ping_round(targets, tg, spread=0.0)

    async def run(self) -> None:
        """Pings until cancelled. A beat leaves out an instance whose last ping is still in flight."""
        await sleep(self._rng.uniform(0, self._period))
        async with create_task_group() as tg:
            async for _ in every(self._period, immediately=True):
                beat = partial(self._ping_round, self._targets(), tg, spread=self._spread)
                tg.start_soon(beat, name="hub.registry round of pings")

    def _targets(self) -> Sequence[PingTarget]:
        targets = self._state.targets()
        owned: Sequence[PingTarget] = [target for target in targets if target.entry.id in self._owned]
        if not owned and self.self_preservation.active:
            owned = self._rng.sample(targets, min(STANDBY_SAMPLE, len(targets)))
        return [target for target in owned if target.serial not in self._in_flight]

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

    async def _ping_round(self, targets: Sequence[PingTarget], group: TaskGroup, *, spread: float) -> None:
        with self._counted(targets) as finished:
            votes = PingRound(sum(map(self._is_voter, targets)))
            slices = self._slices(targets, spread, votes)
            round_ = _Round(votes, slices, finished)
            began = current_time()
            async with create_task_group() as tg:
                for number, slice_ in enumerate(slices):
                    due = began + number * spread / len(slices)
                    await sleep_until(due)
                    self._late_beats += current_time() > due + LATE_BEAT
                    for target in slice_.targets:
                        name = f"hub.registry ping {target.entry.id}"
                        tg.start_soon(self._ping_in_round, target, slice_, round_, group, name=name)
            was_active = self.self_preservation.active
            has_leases = any(target.entry.id in self._owned for target in targets)
            suspicious = votes.suspicious or bool(round_.silent)
            if self.self_preservation.accept(suspicious=suspicious, has_leases=has_leases):
                self._accept_misses(round_, slices)
            elif not votes.suspicious:
                self._accept_misses(round_, [each for each in slices if each not in round_.silent])
            if self.self_preservation.active and not was_active:
                _log.warning("entering self-preservation: most instances stopped answering", missed=round_.missed)
            elif was_active and not self.self_preservation.active:
                _log.warning("leaving self-preservation")

    def _slices(self, targets: Sequence[PingTarget], spread: float, votes: PingRound) -> Sequence[_Slice]:
        count = max(1, min(len(targets) // SLICE_SIZE, int(spread / SLICE_INTERVAL)))
        if count == 1:
            return [_Slice(targets, votes)]
        # The end of an id is random, so instances of one machine or model are in different slices.
        ordered = sorted(targets, key=lambda target: target.entry.id[::-1])
        bounds = [number * len(ordered) // count for number in range(count + 1)]
        slices: list[_Slice] = []
        for start, end in pairwise(bounds):
            members = ordered[start:end]
            voters = sum(map(self._is_voter, members))
            slices.append(_Slice(members, PingRound(voters) if voters >= SLICE_VOTERS else None))
        return slices

    async def _ping_in_round(self, target: PingTarget, slice_: _Slice, round_: _Round, group: TaskGroup) -> None:
        voter = self._is_voter(target)
        result, late = await self._measure(target)
        votes = {round_.votes, slice_.votes or round_.votes} if voter else ()
        if isinstance(result, PingMissed) and not result.replied:
            slice_.missed.append((target, result))
            for each in votes:
                each.missed(late=late)
        else:
            for each in votes:
                each.answered()
            self._record(target, result, scheduled=True)
            round_.finished(target)
            self._resubscribe_if_not_consuming(target, group)
        if slice_.votes is not None and slice_.votes.conclusive:
            self._accept_misses(round_, [slice_])

    def _accept_misses(self, round_: _Round, slices: Iterable[_Slice]) -> None:
        for slice_ in slices:
            for target, result in slice_.missed:
                self._record(target, result, scheduled=True)
                round_.finished(target)
            slice_.missed.clear()

    def _is_voter(self, target: PingTarget) -> bool:
        status = self._state.instance(target.entry.id)
        return status is not None and status.answered_at is not None and status.state is not InstanceState.SUSPECT

    async def _measure(self, target: PingTarget) -> tuple[PingResult, bool]:
        """Pings once. Returns the result, and whether the timeout was noticed late."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._concurrency)  # belongs to an event loop, so not made in __init__
        async with self._limiter:
            started = current_time()
            result: PingResult = PingMissed(f"no answer within {self._timeout:g} s")
            with move_on_after(self._timeout):
                result = await self._probe(target.entry)
            took = current_time() - started
        self._observe(result, took)
        return result, took > self._timeout + LATE_AFTER

    def _record(self, target: PingTarget, result: PingResult, *, scheduled: bool, orphan: bool = False) -> None:
        if orphan or target.entry.id in self._owned:
            self._state.pinged(target, result, scheduled=scheduled)

    def _resubscribe_if_not_consuming(self, target: PingTarget, group: TaskGroup) -> None:
        entry = target.entry
        status = self._state.instance(entry.id)
        if (
            status is not None
            and status.not_consuming_source in (ReadinessSource.PING, ReadinessSource.BROKER)
            and entry.id in self._owned
        ):
            self._resubscribes[entry.model] += 1
            _log.warning(
                "asking the instance to subscribe again", instance=entry.id, model=entry.model, reason=status.reason
            )
            group.start_soon(self._ask_to_resubscribe, entry, name=f"hub.registry resubscribe {entry.id}")

    async def _ask_to_resubscribe(self, entry: InstanceEntry) -> None:
        with move_on_after(self._timeout):
            await self._resubscribe(entry)
