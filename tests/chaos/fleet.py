"""The processes of instances. One is killed every few seconds and replaced."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Final, final

from anyio import current_time, move_on_after, sleep, sleep_until

from tests.chaos.model import POISON_EXIT_CODE
from tests.chaos.program import POLL_INTERVAL, Program

DRAIN: Final = 60.0
"""Seconds for processes to end after SIGTERM: more than the drain grace of an instance."""


@final
class Fleet:
    """Keeps `size` instances running, those included that are starting.

    Attributes:
        killed: Instances that this class has killed.
        poisoned: Instances that a poisonous task has killed.
        unexpected_exits: Instances that ended by themselves, with the end of their logs.
    """

    def __init__(
        self, size: int, start: Callable[[str], Program], draw: random.Random, *, name: str = "instance"
    ) -> None:
        self._name = name
        self._size = size
        self._start = start
        self._draw = draw
        self._numbers = itertools.count(1)
        self._members: list[Program] = []
        self._all: list[Program] = []
        self.killed = 0
        self.poisoned = 0
        self.unexpected_exits: list[str] = []

    @property
    def members(self) -> int:
        return len(self._members)

    @property
    def ready(self) -> list[Program]:
        return [member for member in self._members if member.ready]

    @property
    def deaths(self) -> dict[int, float]:
        """Time of the end of each process that has ended, by process id, in Unix seconds."""
        return {member.pid: member.ended_at for member in self._all if member.ended_at is not None}

    async def replace_ended(self) -> None:
        """Starts a new instance for each that has ended. Does not return."""
        while True:
            self._members = [member for member in self._members if self._is_running(member)]
            while len(self._members) < self._size:
                member = self._start(f"{self._name}-{next(self._numbers)}")
                self._members.append(member)
                self._all.append(member)
            await sleep(POLL_INTERVAL)

    async def kill_periodically(self, period: float) -> None:
        """Kills one ready instance every `period` seconds. Does not return."""
        due = current_time()
        while True:
            due += period
            await sleep_until(due)
            self.kill(1)

    def kill(self, count: int | None = None) -> None:
        """kill -9 of at most `count` ready instances; of half of them without a count."""
        ready = self.ready
        for victim in self._draw.sample(ready, min(len(ready), (len(ready) + 1) // 2 if count is None else count)):
            victim.kill()
            self._members.remove(victim)
            self.killed += 1

    async def until_ready(self) -> None:
        """Waits until all are ready."""
        while len(self.ready) < self._size:
            await sleep(POLL_INTERVAL)

    async def stop(self) -> None:
        """SIGTERM to all, and waits for their end. `replace_ended` must not run any more."""
        for member in self._members:
            member.terminate()
        with move_on_after(DRAIN):
            for member in self._members:
                await member.until_ended()
        self.unexpected_exits += [
            f"{member.name} ended with {member.exit_code} after SIGTERM:\n{member.log_tail()}"
            for member in self._members
            if member.exit_code != 0
        ]

    def close(self) -> None:
        """kill -9 of all that are left."""
        for member in self._all:
            member.kill()

    def _is_running(self, member: Program) -> bool:
        code = member.exit_code
        if code is None:
            return True
        member.kill()  # ends its watchdog
        if code == POISON_EXIT_CODE:
            self.poisoned += 1
        else:
            self.unexpected_exits.append(f"{member.name} ended by itself with {code}:\n{member.log_tail()}")
        return False
