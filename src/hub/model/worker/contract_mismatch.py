"""What becomes of tasks that were written for another contract than the instance has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from anyio import move_on_after
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.contract import Contract
from hub.model.worker import outcomes
from hub.model.worker.outbox import Outbox
from hub.model.worker.run import StopReason, TaskRun
from hub.model.worker.statistics import WorkerCounters
from hub.task import Task
from hub.types import Fingerprint, InstanceId, ModelName, WallClock

EXPLAIN_TIMEOUT: Final = 3.0
"""Seconds that a text about a foreign contract may take; without it the task is refused all the same."""


class ContractCompatibility(Protocol):
    """What an instance knows of the contracts that it does not have; see `hub.model.instance.compatibility.RegistryCompatibility`."""

    def reads(self, fingerprint: Fingerprint) -> bool:
        """Whether tasks that were written for this other contract of the model can be run too."""
        ...

    async def settled(self) -> None:
        """Waits until it is settled what `reads` says. Until then such tasks are held."""
        ...

    async def explain(self, fingerprint: Fingerprint) -> str | None:
        """How this contract differs from ours, as the end of a sentence; empty if nobody knows.

        Returns:
            `None`: its tasks are to go back to the queue, because somebody else can run them.
        """
        ...


@final
class SingleContract(ContractCompatibility):
    """There is one contract, and nothing is known of others."""

    @override
    def reads(self, fingerprint: Fingerprint) -> bool:
        return False

    @override
    async def settled(self) -> None:
        await checkpoint()

    @override
    async def explain(self, fingerprint: Fingerprint) -> str:
        await checkpoint()
        return ""


@final
class ContractMismatchHandler:
    """Ends tasks that cannot be run here, with a text that tells why; or sends them back, for somebody else to run.

    Args:
        model: The name of the model, which is that of its queue.
        contract: The instance's.
        instance: Who refuses.
        others: What is known of other contracts.
        outbox: Takes the outcomes.
        tally: Counts what goes back.
        on_settled: Told of each run that went back.
        clock: Tells Unix time.
    """

    def __init__(
        self,
        *,
        model: ModelName,
        contract: Contract,
        instance: InstanceId,
        others: ContractCompatibility,
        outbox: Outbox,
        tally: WorkerCounters,
        on_settled: Callable[[TaskRun], None],
        clock: WallClock,
    ) -> None:
        self._model = model
        self._contract = contract
        self._instance = instance
        self._others = others
        self._outbox = outbox
        self._tally = tally
        self._on_settled = on_settled
        self._clock = clock
        self._held: set[TaskRun] = set()
        self._draining = False

    def drain(self) -> None:
        """What is held goes back to the queue, now and from now on."""
        self._draining = True
        for run in self._held:
            run.stop(StopReason.DRAIN)

    async def __call__(self, run: TaskRun) -> None:
        """Ends the task of a run, once it is known that nobody can run it; or hands it back.

        Cancelled, it does neither: the message stays with the broker.
        """
        text: str | None = None
        self._held.add(run)
        try:
            with run.scope:
                if self._draining:
                    run.stop(StopReason.DRAIN)
                text = await self._reason(run.task)
        finally:
            self._held.discard(run)
        if text is None:
            self._tally.requeued += 1
            run.requeue()
            self._on_settled(run)
            return
        now = self._clock()
        self._outbox.finish(
            run, outcomes.dead(run, code="wrong_contract", message=text, instance=self._instance, now=now)
        )

    async def _reason(self, task: Task) -> str | None:
        """Why a task cannot be run here; `None` if it is to be delivered again."""
        if task.model != self._model:
            return f"the task is for model {task.model!r}, but it was on the queue of {self._model!r}"
        await self._others.settled()
        if self._others.reads(task.fingerprint):
            return None
        words: str | None = ""
        with move_on_after(EXPLAIN_TIMEOUT):
            words = await self._others.explain(task.fingerprint)
        if words is None:
            return None
        return (
            f"the task was written for contract {task.fingerprint[:12] or 'without a fingerprint'}, but instance "
            f"{self._instance} of {self._model} has {self._contract.fingerprint[:12]}; submit it again{words}"
        )
