"""The size of a chaos run: the tasks, and the faults."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MODEL: Final = "Chaos"
TREE_ROOT: Final = "TreeA"
STREAM: Final = "Stream"
"""The model of all jobs but those of `Plan.tree_jobs`."""

LONGEST_WORK: Final = 60
"""Milliseconds of an ordinary task at most."""

VOLLEY: Final = 400
"""Milliseconds of each task submitted just before a fault: it runs when the fault begins, and ends while it lasts."""

POISON_DELAY: Final = 300
"""Milliseconds until a poison task ends its process: tasks that were delivered with it can finish before."""


class Kind(StrEnum):
    WORK = "work"
    RAISE = "raise"
    POISON = "poison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One task to submit. Durations are in seconds, but for `milliseconds`.

    Attributes:
        key: Its `Idempotency-Key`.
        text: Content of its result.
        timeout: Its `Hub-Timeout`.
        cancel_after: Time from its acceptance until the client cancels it.
        repeated: Whether the client submits it a second time after it was accepted.
        model: The model that it is for.
    """

    key: str
    kind: Kind
    milliseconds: int
    text: str
    timeout: float | None = None
    cancel_after: float | None = None
    repeated: bool = False
    model: str = MODEL

    @property
    def message(self) -> str:
        return f"{self.kind} {self.milliseconds} {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a run. Durations are seconds.

    Attributes:
        tasks: Number of tasks at least; submits go on until the last fault is over.
        rate: Tasks a second at most.
        submitters: Submits under way at most.
        followers: Outcomes that are waited for at a time.
        volley: Tasks submitted at once just before each fault, so that instances are busy when it begins.
        poison: Tasks that end their process.
        trees: Tasks of a model that calls others, at least; `tree_rate` a second. One instance of each of its models runs.
        streams: Tasks of a model that streams, at least; `stream_rate` a second. One instance of it runs.
        long: Shortest and longest duration of a long task; each is cancelled or has a deadline.
        instances: Processes of the model, starting ones included.
        kill_period: Between two `kill -9` of an instance.
        silence: Time for which the broker is frozen, and for which its packets are dropped.
        store_silence: Time for which Redis is frozen.
        down: Time from the kill of registry, gateway or Redis to its restart.
        recovery: Time from the first finished task after a fault to the next fault, at least.
        again: Whether the other gateway is killed too, and the broker a second time.
        ping_period: Of the registry.
        heartbeat: Of connections to the broker: less than half of `silence`, so that it is detected.
        limit: Longest duration of the run; what is unfinished then is reported so.
        seed: Of all random choices.
    """

    tasks: int = 20_000
    rate: float = 150.0
    submitters: int = 48
    followers: int = 96
    volley: int = 64
    poison: int = 4
    trees: int = 400
    tree_rate: float = 3.0
    streams: int = 400
    stream_rate: float = 3.0
    long: tuple[float, float] = (5.0, 10.0)
    instances: int = 7
    kill_period: float = 2.0
    silence: float = 15.0
    store_silence: float = 6.0
    down: float = 2.0
    recovery: float = 6.0
    again: bool = True
    ping_period: float = 5.0
    heartbeat: int = 5
    limit: float = 900.0
    seed: int = 1

    def jobs(self) -> Iterator[Job]:
        """Endless jobs in the order of their submit: ordinary ones, mixed with some of each other kind."""
        draw = random.Random(self.seed)  # the same run again for the same seed
        poison = set(draw.sample(range(self.tasks // 10, self.tasks * 9 // 10), self.poison))
        for number in itertools.count():
            key = f"{self.seed}-{number}"
            text = f"answer {number}"
            chance = draw.random()
            long = int(draw.uniform(*self.long) * 1000)
            brief = draw.randint(1, LONGEST_WORK)
            if number in poison:
                yield Job(key=key, kind=Kind.POISON, milliseconds=POISON_DELAY, text=text)
            elif chance < 0.01:  # cancelled while it runs, most likely
                after = draw.uniform(0.5, 2.0)
                yield Job(key=key, kind=Kind.WORK, milliseconds=long, text=text, cancel_after=after)
            elif chance < 0.02:  # cancelled while it is queued or runs, or too late
                after = draw.uniform(0.0, LONGEST_WORK / 1000)
                yield Job(key=key, kind=Kind.WORK, milliseconds=brief, text=text, cancel_after=after)
            elif chance < 0.03:  # expires
                timeout = round(draw.uniform(0.5, 3.0), 2)
                yield Job(key=key, kind=Kind.WORK, milliseconds=long, text=text, timeout=timeout)
            elif chance < 0.05:  # expires if a fault delays it
                yield Job(key=key, kind=Kind.WORK, milliseconds=brief, text=text, timeout=4.0)
            elif chance < 0.08:
                yield Job(key=key, kind=Kind.RAISE, milliseconds=brief, text=text)
            else:
                yield Job(key=key, kind=Kind.WORK, milliseconds=brief, text=text, repeated=chance < 0.1)

    def tree_jobs(self) -> Iterator[Job]:
        """Endless jobs for a model that calls others."""
        return self._fragile_jobs("tree", TREE_ROOT, random.Random(self.seed + 1))

    def stream_jobs(self) -> Iterator[Job]:
        """Endless jobs for a model that streams."""
        return self._fragile_jobs("stream", STREAM, random.Random(self.seed + 2))

    def _fragile_jobs(self, kind: str, model: str, draw: random.Random) -> Iterator[Job]:
        """A third are cancelled, a third expire, unless they are faster."""
        for number in itertools.count():
            key = f"{kind}-{self.seed}-{number}"
            chance = draw.random()
            milliseconds = draw.choice((draw.randint(1, 500), draw.randint(500, 2500)))
            yield Job(
                key=key,
                kind=Kind.WORK,
                milliseconds=milliseconds,
                text=f"{kind} {number}",
                timeout=round(draw.uniform(0.5, 3.0), 2) if chance < 0.3 else None,
                cancel_after=draw.uniform(0.2, 2.0) if 0.3 <= chance < 0.6 else None,
                model=model,
            )


SHORT: Final = Plan(
    tasks=450,
    rate=30.0,
    submitters=16,
    followers=48,
    volley=32,
    poison=1,
    trees=30,
    tree_rate=2.0,
    streams=30,
    stream_rate=2.0,
    long=(2.0, 4.0),
    instances=4,
    kill_period=5.0,
    silence=2.5,
    store_silence=1.5,
    down=0.3,
    recovery=0.5,
    again=False,
    ping_period=3.0,
    heartbeat=2,
    limit=100.0,
)
"""Each fault once and short: part of `make test`."""
