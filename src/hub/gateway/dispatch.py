"""Tasks on their way: in through the broker, out of the store. Nothing here knows of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self, final

from anyio import AsyncContextManagerMixin, fail_after
from typing_extensions import override

from hub.errors import LinkLost
from hub.gateway.acceptance import Acceptance
from hub.gateway.accepted import Accepted
from hub.gateway.errors import TaskGone, UnknownTask
from hub.gateway.long_polls import LongPolls
from hub.gateway.submit_options import SubmitOptions
from hub.grouping import Grouped
from hub.ports import Absent, Broker, ResultStore
from hub.task import Task, TaskRecord
from hub.vocabulary import Fingerprint, ModelName, TaskId, WallClock, new_task_id, parse_task_id, wall_clock

LANES: Final = 4
"""Groups of look-ups under way at once."""


@final
class Dispatch(AsyncContextManagerMixin):
    """Submits tasks, and says what became of them.

    Args:
        broker: Where messages go.
        store: Where records and outcomes are.
        patience: Seconds that the broker and the store have for one step.
        polls: Bounds the waits.
        clock: Dates the tasks.
    """

    def __init__(
        self,
        broker: Broker,
        store: ResultStore,
        *,
        patience: float,
        polls: LongPolls | None = None,
        clock: WallClock = wall_clock,
    ) -> None:
        self.accept = Acceptance(broker, store, patience=patience)
        self._store = store
        self._fetch = Grouped(store.fetch, name="fetch", lanes=LANES)
        self._patience = patience
        self._polls = polls or LongPolls()
        self._clock = clock

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self.accept, self._fetch:
            yield self

    async def submit(
        self, model: ModelName, fingerprint: Fingerprint, body: bytes, options: SubmitOptions, *, waiting: bool = False
    ) -> Accepted:
        """Makes a task of a serialized request message and returns once it is accepted.

        Args:
            model: Whose queue it goes to.
            fingerprint: The contract that `body` was written for.
            body: The request message, checked already.
            options: What else the client says of it.
            waiting: Whether somebody here waits for its end, so that its instance says so on our channel.

        Raises:
            HubError: As `Acceptance` says.
        """
        now = self._clock()
        task = Task(
            id=new_task_id(),
            model=model,
            body=body,
            fingerprint=fingerprint,
            created_at=now,
            deadline=None if options.timeout is None else now + options.timeout,
            result_ttl=options.result_ttl,
            reply_channel=self._store.channel if waiting else "",
            traceparent=options.trace.traceparent,
            tracestate=options.trace.tracestate,
        )
        await self.accept(task)
        return Accepted(task)

    async def find(self, task_id: str) -> TaskRecord:
        """The task as it is now.

        Raises:
            UnknownTask: There is none of this id.
            TaskGone: There was one, and it has expired.
            LinkLost: The store is out of reach.
        """
        known = _parsed(task_id)
        try:
            with fail_after(self._patience):
                return _present(known, await self._fetch(known))
        except TimeoutError:
            raise LinkLost("the result store", f"it has not answered for {self._patience:g} s") from None

    async def wait(self, task_id: str, seconds: float, *, after: int | None = None) -> TaskRecord:
        """The task once it has ended, or after `seconds` as it is by then.

        Args:
            task_id: Which one.
            seconds: How long to wait.
            after: Return already when the revision is another one than this.

        Raises:
            HubError: As `find` says.
        """
        known = _parsed(task_id)
        if seconds > 0:
            with self._polls.hold(seconds):
                return _present(known, await self._store.changed(known, after=after or 0, until_terminal=after is None))
        return await self.find(task_id)


def _parsed(task_id: str) -> TaskId:
    known = parse_task_id(task_id)
    if known is None:
        raise UnknownTask(task_id)
    return known


def _present(task_id: TaskId, found: TaskRecord | Absent) -> TaskRecord:
    match found:
        case Absent.UNKNOWN:
            raise UnknownTask(task_id)
        case Absent.GONE:
            raise TaskGone(task_id)
        case record:
            return record
