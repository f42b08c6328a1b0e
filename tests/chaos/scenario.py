"""Load from before the first fault until after the last one, and then everything drains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

from anyio import Event, create_memory_object_stream, create_task_group, current_time, sleep, sleep_until
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from tests.chaos.client import Client
from tests.chaos.faults import Fault, inflict, schedule
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.plan import VOLLEY, Job, Kind, Plan
from tests.chaos.program import LOOK
from tests.chaos.stage import Stage

BEHIND: Final = 1.0
"""Seconds of load at most that are made up for in a burst after an outage."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One client's work on one stage.

    Attributes:
        say: Told what happens, for people.
        faults: What has been broken so far, and is whole again.
        broken: Set after the last fault.
    """

    plan: Plan
    stage: Stage
    client: Client
    ledger: Ledger
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list[Fault])
    broken: Event = field(default_factory=Event)

    async def play(self) -> None:
        """Submits tasks while everything is broken, and waits for the end of each."""
        submitted = Event()
        accepted, waiting = create_memory_object_stream[Entry](10 * self.plan.tasks)
        async with create_task_group() as tg, waiting:
            for _ in range(self.plan.followers):
                tg.start_soon(self._follow, waiting.clone())
            tg.start_soon(self._submit_all, accepted, submitted)
            async with create_task_group() as killers:
                killers.start_soon(self.stage.fleet.thin_out, self.plan.kill_period)
                await self._break_everything()
                self.broken.set()
                await submitted.wait()
                killers.cancel_scope.cancel("nothing more is submitted")
            self.say(f"all {self.ledger.accepted} tasks are accepted; now everything drains")

    async def look_again(self) -> None:
        """Looks at the outcome of each task once more."""
        again, entries = create_memory_object_stream[Entry](0)

        async def look(some: MemoryObjectReceiveStream[Entry]) -> None:
            async with some:
                async for entry in some:
                    await self.client.look_again(entry)

        async with create_task_group() as tg, entries:
            for _ in range(self.plan.submitters):
                tg.start_soon(look, entries.clone())
            async with again:
                for entry in self.ledger.entries:
                    if entry.ids:
                        await again.send(entry)

    async def _break_everything(self) -> None:
        """One fault after the other, spread evenly over the tasks, so that a slow machine has load at each of them."""
        acts = schedule(self.plan)
        for number, (name, act) in enumerate(acts, 1):
            while self.ledger.accepted < self.plan.tasks * number / (len(acts) + 1):
                await sleep(LOOK)
            self.say(f"{self.ledger.accepted} accepted, {self.ledger.ended} ended; now: {name}")
            async with create_task_group() as volley:
                accepted = self.ledger.accepted
                for shot in range(self.plan.volley):
                    key = f"volley-{number}-{shot}"
                    volley.start_soon(self._see_through, Job(key=key, kind=Kind.WORK, milliseconds=VOLLEY, text=key))
                while self.ledger.accepted < accepted + self.plan.volley / 2:
                    await sleep(LOOK)
                self.faults.append(await inflict(name, act, self.stage, self.plan))
                # The others may all wait as long as they were told to; this one finds out when hub is back.
                probe = Job(key=f"probe-{number}", kind=Kind.WORK, milliseconds=1, text=f"probe {number}")
                await self._see_through(probe, patient=False)
            await sleep(self.plan.recovery)

    async def _see_through(self, job: Job, *, patient: bool = True) -> None:
        await self.client.follow(await self.client.submit(job, patient=patient))

    async def _submit_all(self, accepted: MemoryObjectSendStream[Entry], submitted: Event) -> None:
        """Returns when all tasks are accepted, and those that are to be cancelled are."""
        jobs, due = create_memory_object_stream[Job](0)
        async with create_task_group() as cancellations, accepted:
            async with create_task_group() as submitters, due:
                submitters.start_soon(self._pace, jobs)
                for _ in range(self.plan.submitters):
                    submitters.start_soon(self._submit, due.clone(), accepted.clone(), cancellations)
            submitted.set()

    async def _pace(self, jobs: MemoryObjectSendStream[Job]) -> None:
        """Hands out jobs at the rate of the plan, until there were enough and the last fault is over."""
        async with jobs:
            due = current_time()
            for number, job in enumerate(self.plan.jobs()):
                if number >= self.plan.tasks and self.broken.is_set():
                    break
                await sleep_until(due)
                await jobs.send(job)
                due = max(due, current_time() - BEHIND) + 1.0 / self.plan.rate

    async def _submit(
        self,
        jobs: MemoryObjectReceiveStream[Job],
        accepted: MemoryObjectSendStream[Entry],
        cancellations: TaskGroup,
    ) -> None:
        async with jobs, accepted:
            async for job in jobs:
                entry = await self.client.submit(job)
                accepted.send_nowait(entry)
                if job.cancel_after is not None:
                    cancellations.start_soon(self.client.cancel, entry)

    async def _follow(self, waiting: MemoryObjectReceiveStream[Entry]) -> None:
        async with waiting:
            async for entry in waiting:
                await self.client.follow(entry)
