"""The instances: one dies every few seconds, and another one takes its place."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Final, final

from anyio import current_time, move_on_after, sleep, sleep_until

from tests.chaos.model import POISONED
from tests.chaos.program import LOOK, Program

DRAIN: Final = 60.0
"""Seconds for processes that were told to stop: more than the drain grace of an instance."""


@final
class Fleet:
    """Keeps `size` instances running, those included that are starting.

    Attributes:
        killed: Instances that were killed on purpose.
        poisoned: Instances that a poisonous task has killed.
        accidents: What ended although nobody wanted it to, with the end of its log.
    """

    def __init__(self, size: int, start: Callable[[str], Program], draw: random.Random) -> None:
        self._size = size
        self._start = start
        self._draw = draw
        self._numbers = itertools.count(1)
        self._members: list[Program] = []
        self._all: list[Program] = []
        self.killed = 0
        self.poisoned = 0
        self.accidents: list[str] = []

    @property
    def members(self) -> int:
        return len(self._members)

    @property
    def ready(self) -> list[Program]:
        return [member for member in self._members if member.ready]

    @property
    def deaths(self) -> dict[int, float]:
        """When which process had ended, of all that there ever were."""
        return {member.pid: member.ended_at for member in self._all if member.ended_at is not None}

    async def tend(self) -> None:
        """Replaces what has ended. Never returns."""
        while True:
            self._members = [member for member in self._members if self._lives(member)]
            while len(self._members) < self._size:
                member = self._start(f"instance-{next(self._numbers)}")
                self._members.append(member)
                self._all.append(member)
            await sleep(LOOK)

    async def thin_out(self, period: float) -> None:
        """Kills one of those that are up every `period` seconds. Never returns."""
        due = current_time()
        while True:
            due += period
            await sleep_until(due)
            self.kill(1)

    def kill(self, count: int | None = None) -> None:
        """kill -9 to so many of those that are up, at most; to half of them if no number is given."""
        ready = self.ready
        for victim in self._draw.sample(ready, min(len(ready), (len(ready) + 1) // 2 if count is None else count)):
            victim.kill()
            self._members.remove(victim)
            self.killed += 1

    async def until_ready(self) -> None:
        """Waits until all are up."""
        while len(self.ready) < self._size:
            await sleep(LOOK)

    async def stop(self) -> None:
        """Tells all to stop and waits for their orderly end; nobody may tend them any more."""
        for member in self._members:
            member.terminate()
        with move_on_after(DRAIN):
            for member in self._members:
                await member.until_ended()
        self.accidents += [
            f"{member.name} ended with {member.exit_code} when it was told to stop:\n{member.last_words()}"
            for member in self._members
            if member.exit_code != 0
        ]

    def close(self) -> None:
        """kill -9 to all that are left."""
        for member in self._all:
            member.kill()

    def _lives(self, member: Program) -> bool:
        code = member.exit_code
        if code is None:
            return True
        member.kill()  # ends what watches over it
        if code == POISONED:
            self.poisoned += 1
        else:
            self.accidents.append(f"{member.name} ended by itself with {code}:\n{member.last_words()}")
        return False
