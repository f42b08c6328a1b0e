"""Tasks that were written for another contract than that of the instance."""

from __future__ import annotations

from typing import Final, Protocol, final

from anyio import move_on_after
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.contract import Contract
from hub.task import Task
from hub.types import Fingerprint, InstanceId, ModelName

DESCRIBE_TIMEOUT: Final = 3.0
"""Seconds that the description of a difference may take; the task is refused without it then."""


class ContractCompatibility(Protocol):
    """Which other contracts of the model an instance can read; see `hub.model.instance.compatibility.RegistryCompatibility`."""

    def can_read(self, fingerprint: Fingerprint) -> bool:
        """Whether tasks that were written for this other contract of the model can be run too."""
        ...

    async def wait_ready(self) -> None:
        """Waits until the answers of `can_read` are final. Until then such tasks are held."""
        ...

    async def describe_mismatch(self, fingerprint: Fingerprint) -> str | None:
        """How this contract differs from that of the instance, as the end of a sentence; empty if that is not known.

        Returns:
            `None`: tasks of this contract are to go back to the queue, because another instance can run them.
        """
        ...


@final
class SingleContract(ContractCompatibility):
    """The model has one contract."""

    @override
    def can_read(self, fingerprint: Fingerprint) -> bool:
        return False

    @override
    async def wait_ready(self) -> None:
        await checkpoint()

    @override
    async def describe_mismatch(self, fingerprint: Fingerprint) -> str:
        await checkpoint()
        return ""


@final
class ContractCheck:
    """Decides which tasks an instance can run.

    Args:
        model: Name of the model, which is that of its queue.
        contract: Contract of the instance.
        instance: Id of the instance, for texts.
        others: Which other contracts it can read.
    """

    def __init__(
        self, model: ModelName, contract: Contract, instance: InstanceId, others: ContractCompatibility
    ) -> None:
        self._model = model
        self._contract = contract
        self._instance = instance
        self._others = others

    def can_run(self, task: Task) -> bool:
        """Whether this instance can run the task, as far as is known now."""
        return task.model == self._model and (
            task.fingerprint == self._contract.fingerprint or self._others.can_read(task.fingerprint)
        )

    async def reason(self, task: Task) -> str | None:
        """Why no instance can run the task, once that is known; `None` if it is to be delivered again."""
        if task.model != self._model:
            return f"the task is for model {task.model!r}, but it was on the queue of {self._model!r}"
        await self._others.wait_ready()
        if self.can_run(task):
            return None
        difference: str | None = ""
        with move_on_after(DESCRIBE_TIMEOUT):
            difference = await self._others.describe_mismatch(task.fingerprint)
        if difference is None:
            return None
        return (
            f"the task was written for contract {task.fingerprint[:12] or 'without a fingerprint'}, but instance "
            f"{self._instance} of {self._model} has {self._contract.fingerprint[:12]}; submit it again{difference}"
        )
