"""Writes what becomes of tasks to the store and to the broker, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import structlog
from anyio import create_task_group
from structlog.typing import FilteringBoundLogger

from hub.errors import PublishRefused, Unroutable
from hub.model.worker.retrying_batcher import NotTaken, RetryingBatcher
from hub.model.worker.run import TaskRun
from hub.ports.broker import Broker, Delivery, Publication
from hub.ports.result_store import ReleasedTask, ResultStore
from hub.task import Failure, Outcome
from hub.types import InstanceId, ModelName, WallClock, dead_letter_queue

LONGEST_REASON: Final = 4_096
"""Characters of a reason in the headers of a dead letter; the outcome in the store has the rest."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class ResultWriter:
    """Each method returns once the server has confirmed, so that its caller may acknowledge the message after that.

    Every step may be repeated after a crash of the instance, and none is skipped. While a server is away, calls wait for it
    for `timeout` seconds and raise `NotTaken` then.

    Args:
        store: Where outcomes go.
        broker: Where messages go.
        model: Name of the model.
        instance: Id of the instance, for dead letters.
        timeout: Seconds.
        clock: Returns Unix time.
    """

    def __init__(
        self,
        store: ResultStore,
        broker: Broker,
        *,
        model: ModelName,
        instance: InstanceId,
        timeout: float,
        clock: WallClock,
    ) -> None:
        self._broker = broker
        self._model = model
        self._instance = instance
        self._clock = clock
        self._outcomes: RetryingBatcher[Outcome, bool] = RetryingBatcher(store.finish, timeout=timeout, name="outcomes")
        self._releases: RetryingBatcher[ReleasedTask, bool] = RetryingBatcher(
            store.release, timeout=timeout, name="released tasks"
        )
        self._messages: RetryingBatcher[Publication, PublishRefused | None] = RetryingBatcher(
            self._publish_batch, timeout=timeout, name="messages"
        )

    def __len__(self) -> int:
        return len(self._outcomes) + len(self._releases) + len(self._messages)

    async def run(self) -> None:
        """Writes until it is cancelled."""
        async with create_task_group() as tg:
            tg.start_soon(self._outcomes.run, name=f"hub.writer outcomes {self._instance}")
            tg.start_soon(self._releases.run, name=f"hub.writer released tasks {self._instance}")
            tg.start_soon(self._messages.run, name=f"hub.writer messages {self._instance}")

    async def finish(self, outcome: Outcome) -> bool:
        """Stores an outcome. Returns whether it is the first one of its task."""
        return await self._outcomes.submit(outcome)

    async def release(self, run: TaskRun) -> bool:
        """Marks the task as waiting, for another instance to run it. A task that has ended, or runs elsewhere, is left alone.

        Returns:
            Whether it waits now.
        """
        return await self._releases.submit(ReleasedTask(task_id=run.task.id, attempt=run.attempt))

    async def retry(self, run: TaskRun, delay: float) -> bool:
        """Marks the task as waiting and publishes a copy of its message with a delay in seconds.

        Returns:
            Whether it did; `False` when the task has ended, or runs elsewhere.
        """
        task = run.task
        released = ReleasedTask(task_id=task.id, attempt=run.attempt, retry_at=self._clock() + delay)
        if not await self._releases.submit(released):
            return False
        await self._publish(
            Publication(
                queue=self._model,
                body=task.encode(),
                message_id=task.id,
                timestamp=task.created_at,
                delay=delay,
            )
        )
        return True

    async def dead_letter(self, run: TaskRun, failure: Failure) -> None:
        """Publishes a copy of the message of a dead task to the dead letters, with the reason in its headers."""
        await self._dead_letter(run.task.encode(), run.task.id, failure, attempt=run.attempt)

    async def dead_letter_malformed(self, delivery: Delivery, failure: Failure) -> None:
        """The same for a message that is not a task."""
        await self._dead_letter(delivery.body, delivery.message_id, failure, attempt=0)

    async def _dead_letter(self, body: bytes, message_id: str, failure: Failure, *, attempt: int) -> None:
        _log.error("dead letter", message=message_id, code=failure.code, reason=failure.message)
        now = self._clock()
        await self._publish(
            Publication(
                queue=dead_letter_queue(self._model),
                body=body,
                message_id=message_id,
                timestamp=now,
                headers={
                    "hub-code": failure.code,
                    "hub-reason": failure.message[:LONGEST_REASON],
                    "hub-attempt": attempt,
                    "hub-instance": self._instance,
                    "hub-model": self._model,
                    "hub-died-at": int(now),
                },
            )
        )

    async def _publish(self, publication: Publication) -> None:
        refused = await self._messages.submit(publication)
        if refused is not None:
            _log.error("message refused, its delivery goes back", queue=refused.queue, reason=refused.reason)
            raise NotTaken

    async def _publish_batch(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        results = list(await self._broker.publish(publications))
        unroutable = [index for index, result in enumerate(results) if isinstance(result, Unroutable)]
        if unroutable:  # a queue has been deleted
            await self._broker.declare(self._model)
            again = await self._broker.publish([publications[index] for index in unroutable])
            for index, result in zip(unroutable, again, strict=True):
                results[index] = result
        return results
