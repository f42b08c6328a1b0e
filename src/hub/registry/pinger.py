"""The ping loop."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from math import floor
from typing import Final, final

from anyio import CapacityLimiter, create_task_group, current_time, move_on_after, sleep_until

from hub.ports import InstanceEntry
from hub.registry.pings import Missed, PingResult, PingTarget
from hub.registry.roll import Roll
from hub.vocabulary import WallClock, wall_clock

CONCURRENT_PINGS: Final = 256
"""Pings at a time. With all of them waiting for their timeout, 1,000 silent instances still fit into one period."""

Probe = Callable[[InstanceEntry], Awaitable[PingResult]]
"""Pings one instance. Network trouble is a result, not an error; the pinger limits its time."""


PingObserver = Callable[[PingResult, float], None]
"""Told of each result, with the seconds that the ping took."""


@final
class Pinger:
    """Pings every instance once a period, all of them at once, each on its own: a slow one delays nobody.

    Args:
        roll: Whom to ping, and where the results go.
        probe: Carries out one ping.
        period: Seconds between two pings of one instance. The schedule is absolute: a slow beat does not shift the next,
            and beats that were slept through (a suspended machine) are left out.
        timeout: Seconds that one ping may take.
        concurrency: Pings at a time.
        observe: Told of each result.
        clock: Where Unix time comes from.
        rng: Shifts the first beat by a part of the period, so that registries do not march in step.
    """

    def __init__(
        self,
        roll: Roll,
        probe: Probe,
        *,
        period: float,
        timeout: float,
        concurrency: int = CONCURRENT_PINGS,
        observe: PingObserver = lambda result, seconds: None,  # noqa: ARG005
        clock: WallClock = wall_clock,
        rng: random.Random | None = None,
    ) -> None:
        self._roll = roll
        self._probe = probe
        self._period = period
        self._timeout = timeout
        self._concurrency = concurrency
        self._observe = observe
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._limiter: CapacityLimiter | None = None
        self._under_way: set[int] = set()

    @property
    def under_way(self) -> int:
        """Instances whose ping waits for its turn or for an answer."""
        return len(self._under_way)

    async def ping(self, target: PingTarget, *, scheduled: bool = False) -> PingResult:
        """Pings one instance now, records the result and returns it. Cancelled, it records nothing.

        Args:
            target: Whom to ping.
            scheduled: Whether a miss counts; see `Table.pinged`.
        """
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._concurrency)  # belongs to an event loop, so not made in __init__
        self._under_way.add(target.serial)
        try:
            async with self._limiter:
                started = current_time()
                result: PingResult = Missed(f"no answer within {self._timeout:g} s")
                with move_on_after(self._timeout):
                    result = await self._probe(target.entry)
                self._observe(result, current_time() - started)
            self._roll.apply(self._roll.table.pinged(target, result, now=self._clock(), scheduled=scheduled))
            return result
        finally:
            self._under_way.discard(target.serial)

    async def ping_all(self, targets: Iterable[PingTarget]) -> None:
        """Pings several instances at once and returns when each has its result."""
        async with create_task_group() as tg:
            for target in targets:
                tg.start_soon(self.ping, target, name=f"hub.registry ping {target.entry.id}")

    async def run(self) -> None:
        """Pings until cancelled. An instance whose last ping is still under way is left out of a beat."""
        due = current_time() + self._rng.uniform(0, self._period)
        async with create_task_group() as tg:
            while True:
                await sleep_until(due)
                for target in self._roll.table.targets():
                    if target.serial not in self._under_way:
                        tg.start_soon(self._beat, target, name=f"hub.registry ping {target.entry.id}")
                due += self._period * (1 + floor((current_time() - due) / self._period))

    async def _beat(self, target: PingTarget) -> None:
        await self.ping(target, scheduled=True)
