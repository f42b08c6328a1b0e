"""Every way in which a run leaves its instance: an outcome, a retry, a hand-back, a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import structlog
from anyio import create_task_group
from structlog.typing import FilteringBoundLogger

from hub.errors import PublishRefused, Unroutable
from hub.model.worker.backlog import Backlog
from hub.model.worker.run import TaskRun
from hub.model.worker.statistics import WorkerCounters
from hub.ports.broker import Broker, Consumer, Delivery, Publication
from hub.ports.result_store import ReleasedTask, ResultStore
from hub.task import Failure, Outcome
from hub.types import InstanceId, ModelName, TaskState, WallClock, dead_letter_queue

LONGEST_REASON: Final = 4_096
"""Characters of a reason in the headers of a dead letter; the outcome in the store has the rest."""

_BURIED_BEFORE: Final = Failure(
    code="dead", message="given up before, by an instance that died of it; the record of the task has the reason"
)

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Finished:
    run: TaskRun
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class _Returned:
    run: TaskRun
    handed_back: ReleasedTask
    delay: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    publication: Publication
    taken: Callable[[], None]
    not_taken: Callable[[], None]


@final
class Outbox:
    """Brings what becomes of runs to the store and to the broker, in groups; deliveries are settled after that.

    * An outcome: stored, then acked. The outcome of a dead task: stored, then a copy of the message goes to the dead
      letters, with the reason, then acked.
    * A retry: its record waits again, then a delayed copy of the message is published, then acked.
    * A hand-back: its record waits again, then the message is requeued.

    Whatever a server does not take for `timeout` is given back to the broker as a failed delivery. So nothing is acked
    that is not safe elsewhere, and nothing is lost; after a crash in between, a step may be taken twice.

    Args:
        store: Where outcomes go.
        broker: Where messages go.
        model: Whose they are.
        instance: Who gives them up.
        timeout: Seconds that each step may wait for a server that is away.
        tally: Counts what happens.
        on_settled: Called with each run that is off this instance's hands.
        clock: Tells Unix time.
    """

    def __init__(
        self,
        store: ResultStore,
        broker: Broker,
        *,
        model: ModelName,
        instance: InstanceId,
        timeout: float,
        tally: WorkerCounters,
        on_settled: Callable[[TaskRun], None],
        clock: WallClock,
    ) -> None:
        self._store = store
        self._broker = broker
        self._model = model
        self._instance = instance
        self._tally = tally
        self._on_settled = on_settled
        self._clock = clock
        self._outcomes = Backlog[_Finished, bool](
            self._store_outcomes,
            settle=self._stored,
            give_up=lambda entry: self._give_back(entry.run),
            timeout=timeout,
            what="outcomes",
        )
        self._returns = Backlog[_Returned, bool](
            self._store_returns,
            settle=self._waits_again,
            give_up=lambda entry: self._give_back(entry.run),
            timeout=timeout,
            what="hand-backs",
        )
        self._messages = Backlog[_Sent, PublishRefused | None](
            self._publish,
            settle=self._published,
            give_up=lambda entry: entry.not_taken(),
            timeout=timeout,
            what="messages",
        )

    def __len__(self) -> int:
        return len(self._outcomes) + len(self._returns) + len(self._messages)

    async def work(self) -> None:
        """Works until it is cancelled; what is on its way then stays here."""
        async with create_task_group() as tg:
            tg.start_soon(self._outcomes.work, name=f"hub.outbox outcomes {self._instance}")
            tg.start_soon(self._returns.work, name=f"hub.outbox hand-backs {self._instance}")
            tg.start_soon(self._messages.work, name=f"hub.outbox messages {self._instance}")

    def give_up(self) -> None:
        """Gives back every run that is still here; for the end of a drain."""
        self._outcomes.give_up()
        self._returns.give_up()
        self._messages.give_up()

    def finish(self, run: TaskRun, outcome: Outcome) -> None:
        """The run has an outcome."""
        self._outcomes.put(_Finished(run, outcome))

    def release(self, run: TaskRun) -> None:
        """The run was stopped by the drain; another instance is to take its task."""
        self._returns.put(_Returned(run, ReleasedTask(task_id=run.task.id, attempt=run.attempt), None))

    def retry(self, run: TaskRun, delay: float) -> None:
        """The run failed; the task is to run again in `delay` seconds."""
        handed_back = ReleasedTask(task_id=run.task.id, attempt=run.attempt, retry_at=self._clock() + delay)
        self._returns.put(_Returned(run, handed_back, delay))

    def bury_again(self, run: TaskRun) -> None:
        """The task is dead already, and nobody knows whether its message got to the dead letters."""
        self._bury(run, _BURIED_BEFORE)

    def bury_stray(self, consumer: Consumer, delivery: Delivery, failure: Failure) -> None:
        """The message is no task: nobody waits for it, but it is not thrown away either."""
        letter = self._letter(delivery.body, delivery.message_id, failure, attempt=0)
        self._messages.put(
            _Sent(letter, lambda: consumer.ack([delivery]), lambda: consumer.reject([delivery], requeue=True))
        )

    async def _store_outcomes(self, entries: Sequence[_Finished]) -> Sequence[bool]:
        return await self._store.finish([entry.outcome for entry in entries])

    async def _store_returns(self, entries: Sequence[_Returned]) -> Sequence[bool]:
        return await self._store.release([entry.handed_back for entry in entries])

    async def _publish(self, entries: Sequence[_Sent]) -> Sequence[PublishRefused | None]:
        publications = [entry.publication for entry in entries]
        answers = list(await self._broker.publish(publications))
        homeless = [index for index, answer in enumerate(answers) if isinstance(answer, Unroutable)]
        if homeless:  # somebody has deleted a queue under us
            await self._broker.declare(self._model)
            again = await self._broker.publish([publications[index] for index in homeless])
            for index, answer in zip(homeless, again, strict=True):
                answers[index] = answer
        return answers

    def _stored(self, entry: _Finished, first: bool) -> None:  # noqa: FBT001 - called by Backlog, with each answer
        outcome = entry.outcome
        if first:
            self._tally.stored[outcome.state] += 1
        else:
            self._tally.dropped += 1
        if outcome.state is TaskState.DEAD and outcome.failure is not None:
            # Also when another outcome was first: it may be the same verdict of an instance that died before this step.
            self._bury(entry.run, outcome.failure)
        else:
            self._done(entry.run)

    def _waits_again(self, entry: _Returned, waits: bool) -> None:  # noqa: FBT001 - likewise
        run = entry.run
        if entry.delay is None:
            self._tally.requeued += 1
        elif waits:
            self._tally.retried += 1
            task = run.task
            copy = Publication(
                queue=self._model,
                body=task.encode(),
                message_id=task.id,
                timestamp=task.created_at,
                delay=entry.delay,
            )
            self._messages.put(_Sent(copy, lambda: self._done(run), lambda: self._give_back(run)))
            return
        # Also when the task does not wait again: the one who takes the message next finds out why.
        run.requeue()
        self._on_settled(run)

    def _published(self, entry: _Sent, refused: PublishRefused | None) -> None:
        if refused is None:
            entry.taken()
        else:
            _log.error("message not taken, its delivery goes back", queue=refused.queue, reason=refused.reason)
            entry.not_taken()

    def _bury(self, run: TaskRun, failure: Failure) -> None:
        letter = self._letter(run.task.encode(), run.task.id, failure, attempt=run.attempt)
        self._messages.put(_Sent(letter, lambda: self._done(run), lambda: self._give_back(run)))

    def _letter(self, body: bytes, message_id: str, failure: Failure, *, attempt: int) -> Publication:
        _log.error("given to the dead letters", message=message_id, code=failure.code, reason=failure.message)
        now = self._clock()
        return Publication(
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

    def _done(self, run: TaskRun) -> None:
        run.ack()
        self._on_settled(run)

    def _give_back(self, run: TaskRun) -> None:
        self._tally.requeued += 1
        run.reject()
        self._on_settled(run)
