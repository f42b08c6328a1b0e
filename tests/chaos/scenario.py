"""Load from before the first fault until after the last one; then all tasks finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, final

from anyio import Event, create_memory_object_stream, create_task_group, current_time, sleep, sleep_until
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from tests.chaos.client import Client
from tests.chaos.faults import Fault, inject, schedule
from tests.chaos.history import History, TaskHistory
from tests.chaos.plan import VOLLEY, Job, Kind, Plan
from tests.chaos.program import POLL_INTERVAL
from tests.chaos.system import System

MAX_BURST: Final = 1.0
"""Seconds of load at most that are submitted in a burst after an outage."""


OTHER_KILLS: Final = 5.0
"""The instance of each other model is killed after so many of the plan's `kill_period`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The load of one client on one system.

    Attributes:
        say: Called with a line of text per step.
        faults: Faults that are over.
        faults_over: Set after the last fault.
    """

    plan: Plan
    system: System
    client: Client
    history: History
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list[Fault])
    faults_over: Event = field(default_factory=Event)

    async def play(self) -> None:
        """Submits tasks while faults are injected, and waits for the end of each."""
        submitted = Event()
        accepted, waiting = create_memory_object_stream[TaskHistory](10 * self.plan.tasks)
        async with create_task_group() as tg, waiting:
            for _ in range(self.plan.followers):
                tg.start_soon(self._follow, waiting.clone())
            tg.start_soon(self._submit_all, accepted, submitted)
            async with create_task_group() as killers:
                killers.start_soon(self.system.fleet.kill_periodically, self.plan.kill_period)
                for fleet in self.system.others:
                    killers.start_soon(fleet.kill_periodically, OTHER_KILLS * self.plan.kill_period)
                tg.start_soon(self._submit_paced, self.plan.tree_jobs(), self.plan.trees, self.plan.tree_rate)
                tg.start_soon(self._submit_paced, self.plan.stream_jobs(), self.plan.streams, self.plan.stream_rate)
                await self._inject_faults()
                self.faults_over.set()
                await submitted.wait()
                killers.cancel_scope.cancel("nothing more is submitted")
            self.say(f"all {self.history.accepted} tasks are accepted; waiting for their outcomes")

    async def _submit_paced(self, jobs: Iterator[Job], enough: int, rate: float) -> None:
        """Submits tasks at a rate until there are enough and the last fault is over."""
        async with create_task_group() as tg:
            due = current_time()
            for number, job in enumerate(jobs):
                if number >= enough and self.faults_over.is_set():
                    break
                await sleep_until(due)
                tg.start_soon(self._submit_and_follow, job)
                due = max(due, current_time() - MAX_BURST) + 1.0 / rate

    async def _submit_and_follow(self, job: Job) -> None:
        entry = await self.client.submit(job)
        async with create_task_group() as tg:
            if job.cancel_after is not None:
                tg.start_soon(self.client.cancel, entry)
            await self.client.follow(entry)

    async def read_again(self) -> None:
        """Reads the outcome of each task a second time."""
        again, entries = create_memory_object_stream[TaskHistory](0)

        async def read(some: MemoryObjectReceiveStream[TaskHistory]) -> None:
            async with some:
                async for entry in some:
                    await self.client.read_again(entry)

        async with create_task_group() as tg, entries:
            for _ in range(self.plan.submitters):
                tg.start_soon(read, entries.clone())
            async with again:
                for entry in self.history.entries:
                    if entry.ids:
                        await again.send(entry)

    async def _inject_faults(self) -> None:
        """Injects one fault after the other, spread evenly over the tasks, so that there is load on slow machines too."""
        faults = schedule(self.plan)
        for number, (name, action) in enumerate(faults, 1):
            while self.history.accepted < self.plan.tasks * number / (len(faults) + 1):
                await sleep(POLL_INTERVAL)
            self.say(f"{self.history.accepted} accepted, {self.history.ended} ended; now: {name}")
            async with create_task_group() as volley:
                accepted = self.history.accepted
                for shot in range(self.plan.volley):
                    key = f"volley-{number}-{shot}"
                    volley.start_soon(
                        self._submit_and_wait, Job(key=key, kind=Kind.WORK, milliseconds=VOLLEY, text=key)
                    )
                while self.history.accepted < accepted + self.plan.volley / 2:
                    await sleep(POLL_INTERVAL)
                self.faults.append(await inject(name, action, self.system, self.plan))
                # All other submits may be waiting as `Retry-After` says; this one shows when hub accepts again.
                probe = Job(key=f"probe-{number}", kind=Kind.WORK, milliseconds=1, text=f"probe {number}")
                await self._submit_and_wait(probe, patient=False)
            await sleep(self.plan.recovery)

    async def _submit_and_wait(self, job: Job, *, patient: bool = True) -> None:
        await self.client.follow(await self.client.submit(job, patient=patient))

    async def _submit_all(self, accepted: MemoryObjectSendStream[TaskHistory], submitted: Event) -> None:
        """Returns when all tasks are accepted and all cancellations are answered."""
        jobs, due = create_memory_object_stream[Job](0)
        async with create_task_group() as cancellations, accepted:
            async with create_task_group() as submitters, due:
                submitters.start_soon(self._pace, jobs)
                for _ in range(self.plan.submitters):
                    submitters.start_soon(self._submit, due.clone(), accepted.clone(), cancellations)
            submitted.set()

    async def _pace(self, jobs: MemoryObjectSendStream[Job]) -> None:
        """Sends jobs at the rate of the plan, until there are enough and the last fault is over."""
        async with jobs:
            due = current_time()
            for number, job in enumerate(self.plan.jobs()):
                if number >= self.plan.tasks and self.faults_over.is_set():
                    break
                await sleep_until(due)
                await jobs.send(job)
                due = max(due, current_time() - MAX_BURST) + 1.0 / self.plan.rate

    async def _submit(
        self,
        jobs: MemoryObjectReceiveStream[Job],
        accepted: MemoryObjectSendStream[TaskHistory],
        cancellations: TaskGroup,
    ) -> None:
        async with jobs, accepted:
            async for job in jobs:
                entry = await self.client.submit(job)
                accepted.send_nowait(entry)
                if job.cancel_after is not None:
                    cancellations.start_soon(self.client.cancel, entry)

    async def _follow(self, waiting: MemoryObjectReceiveStream[TaskHistory]) -> None:
        async with waiting:
            async for entry in waiting:
                await self.client.follow(entry)
