"""One task while this instance is responsible for it."""

from __future__ import annotations

from typing import final

from anyio import CancelScope

from hub.ports import Consumer, Delivery
from hub.task import Task


@final
class Run:
    """A task that was delivered here, until its outcome is stored or it is handed back.

    It holds every delivery that brought the task. There is more than one when the link was lost and the broker sent
    the message again, or when the message was published twice: the task runs once, and all of them are settled.

    Attributes:
        task: The task.
        attempt: Which run of the task this is; 0 while it has not begun.
        started_at: When it began, in Unix seconds.
        scope: Cancel it to stop the run.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.attempt = 0
        self.started_at: float | None = None
        self.scope = CancelScope()
        self._held: list[tuple[Consumer, Delivery]] = []

    def begin(self, attempt: int, *, now: float) -> None:
        self.attempt = attempt
        self.started_at = now

    def hold(self, consumer: Consumer, delivery: Delivery) -> None:
        self._held.append((consumer, delivery))

    def ack(self) -> None:
        for consumer, delivery in self._let_go():
            consumer.ack([delivery])

    def requeue(self) -> None:
        for consumer, delivery in self._let_go():
            consumer.requeue([delivery])

    def reject(self, *, requeue: bool) -> None:
        for consumer, delivery in self._let_go():
            consumer.reject([delivery], requeue=requeue)

    def _let_go(self) -> list[tuple[Consumer, Delivery]]:
        held, self._held = self._held, []
        return held
