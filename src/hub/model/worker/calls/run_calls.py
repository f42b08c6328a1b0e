"""The calls that a model makes during one run of one task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import count
from math import inf, isfinite
from typing import Final, TypeVar, final

from anyio import (
    CancelScope,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
    sleep_forever,
)
from google.protobuf.descriptor import Descriptor
from opentelemetry.context import get_current
from typing_extensions import override

from hub.contract import Contract
from hub.errors import HubError
from hub.model.calls import CallRequest, TaskCalls
from hub.model.errors import CallCycle, CallFailed, RunOver
from hub.model.worker.calls.child_tasks import ChildTasks
from hub.model.worker.run import TaskRun
from hub.observability.tracing import NO_TRACE, TraceContext, inject
from hub.ports.directory import ModelLimits
from hub.submission.outcomes import SubmitResult
from hub.submission.spans import publish_span
from hub.task import PARENT_ENDED, Ancestor, Task
from hub.types import Fingerprint, ModelName, TaskId, TaskState, child_task_id

T = TypeVar("T")

MIN_RESULT_TTL: Final = 3600.0
"""Seconds that the outcome of a child is kept at least, for a later attempt of its parent."""

CANCEL_GRACE: Final = 2.0
"""Seconds for ending the task of a call that was cancelled: a round trip to a slow store. After that its parent's end does."""

STOP_GRACE: Final = 2.0
"""Seconds for the news that a task has ended, when the news that its child has ended with it was faster."""

REFUSED: Final = "refused"
"""Result of a call, in the metrics, that did not become a task."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What is around a call where it is made.

    Attributes:
        timeout: Seconds that the cancel scopes around the call leave; infinite in a thread.
        trace: The span that is current there; empty if there is none.
    """

    timeout: float
    trace: TraceContext


class _Calls:
    """The calls of a run so far: how many of each kind, their tasks, those that are counted, and what waits for them."""

    __slots__ = ("counted", "occurrences", "scopes", "submitted")

    def __init__(self) -> None:
        self.scopes: set[CancelScope] = set()
        self.occurrences: Counter[tuple[ModelName, str]] = Counter()
        self.submitted: dict[TaskId, SubmitResult] = {}
        self.counted: set[TaskId] = set()


@final
class RunCalls(TaskCalls):
    """The calls of one run of a task.

    A call that is cancelled by the model's own code ends its task. If the run itself is cancelled, its tasks are left
    alone: either its own task has ended, which ends them in the store, or another attempt follows, which finds them.
    """

    __slots__ = ("_calls", "_over", "_run", "_service")

    def __init__(self, service: ChildTasks, run: TaskRun) -> None:
        self._service = service
        self._run = run
        self._over = False
        self._calls: _Calls | None = None

    def close(self) -> None:
        """Ends the calls that threads still wait for, and refuses further ones."""
        self._over = True
        if self._calls is not None:
            for scope in self._calls.scopes:
                scope.cancel("the run has ended")

    @property
    def _made(self) -> _Calls:
        if self._calls is None:  # most runs make none
            self._calls = _Calls()
        return self._calls

    @override
    async def call(self, request: CallRequest) -> bytes:
        return await self._in_loop(self._call, request, _here())

    @override
    def call_from_thread(self, request: CallRequest) -> bytes:
        body: bytes = self._service.loop.run_from_thread(self._during_run, self._call, request, _in_thread())
        return body

    @override
    async def submit(self, request: CallRequest) -> TaskId:
        return (await self._in_loop(self._submit, request, _here())).id

    @override
    async def result(self, task: TaskId) -> bytes:
        return await self._in_loop(self._result, task)

    @override
    async def cancel(self, task: TaskId) -> None:
        await self._in_loop(self._service.cancel, task)

    async def _in_loop(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        return await self._service.loop.run(self._during_run, function, *args)

    async def _during_run(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        if not self._over:
            with CancelScope() as scope:
                self._made.scopes.add(scope)
                try:
                    return await function(*args)
                finally:
                    self._made.scopes.discard(scope)
        raise RunOver(self._run.task.id)

    async def _call(self, request: CallRequest, around: _Surroundings) -> bytes:
        child = await self._submit(request, around)
        try:
            return await self._result(child.id)
        except get_cancelled_exc_class():
            if not self._ending:
                with move_on_after(CANCEL_GRACE, shield=True):
                    await self._service.cancel(child.id)
            raise

    @property
    def _ending(self) -> bool:
        """Whether the run itself is cancelled, rather than a call by the code around it."""
        return self._over or self._run.stopped is not None or self._run.scope.cancel_called

    async def _submit(self, request: CallRequest, around: _Surroundings) -> SubmitResult:
        try:
            submitted = await self._submit_or_find(request, around)
        except HubError:
            self._service.counters.calls[request.model, REFUSED] += 1
            raise
        self._made.submitted[submitted.id] = submitted
        return submitted

    async def _submit_or_find(self, request: CallRequest, around: _Surroundings) -> SubmitResult:
        """A new task, or the one that an earlier attempt has made with this call and that has not failed."""
        parent = self._run.task
        path = (*(each.model for each in parent.ancestors), parent.model, request.model)
        if request.model in path[:-1]:
            raise CallCycle(path)
        digest = sha256(request.body).hexdigest()
        self._made.occurrences[request.model, digest] += 1
        occurrence = self._made.occurrences[request.model, digest]
        trace = around.trace if around.trace.traceparent else TraceContext(parent.traceparent, parent.tracestate)
        for generation in count():
            task_id = child_task_id(parent.id, request.model, digest, occurrence, generation)
            found = await self._service.find(task_id) if self._run.attempt > 1 else None
            if found is None:
                limits = await self._service.models.limits(request.model)
                with publish_span(request.model, task_id, trace) as sent:
                    deadline = self._deadline(around.timeout, limits)
                    child = self._task(request, task_id, f"{occurrence}.{generation}", deadline, sent)
                    found = await self._service.submit(child)
            else:
                child = self._task(request, task_id, "", found.deadline, trace)
            if found is None or not found.state.terminal or found.state is TaskState.SUCCEEDED:
                return SubmitResult(child, found)
        raise AssertionError  # pragma: no cover - `count` has no end

    def _deadline(self, timeout: float, limits: ModelLimits | None) -> float | None:
        """The earliest of three: the parent's, that of the scopes around the call, and the called model's own."""
        own = None if limits is None else limits.default_timeout or limits.max_timeout
        now, parents = self._service.clock(), self._run.task.deadline
        deadline = min(inf if parents is None else parents, now + timeout, inf if own is None else now + own)
        return deadline if isfinite(deadline) else None

    def _task(
        self, request: CallRequest, task_id: TaskId, key: str, deadline: float | None, trace: TraceContext
    ) -> Task:
        parent = self._run.task
        return Task(
            id=task_id,
            model=request.model,
            body=request.body,
            fingerprint=_fingerprint(request.request, request.response),
            created_at=self._service.clock(),
            deadline=deadline,
            result_ttl=max(parent.result_ttl, MIN_RESULT_TTL),
            reply_channel=self._service.channel,
            traceparent=trace.traceparent,
            tracestate=trace.tracestate,
            idempotency_key=key,
            ancestors=(*parent.ancestors, Ancestor(parent.id, parent.model)),
        )

    async def _result(self, task_id: TaskId) -> bytes:
        submitted = self._made.submitted[task_id]
        outcome = await self._service.outcome(submitted)
        if task_id not in self._made.counted:
            self._made.counted.add(task_id)
            self._service.counters.calls[submitted.model, outcome.state.value] += 1
        if outcome.body is not None:
            return outcome.body
        failure = outcome.failure
        assert failure is not None  # noqa: S101 - see Outcome
        if failure.code == PARENT_ENDED:  # so has our own task: this run is about to be stopped, and that is the reason
            with move_on_after(STOP_GRACE):
                await sleep_forever()
        raise CallFailed(submitted.model, task_id, failure.code, failure.message, failure.type)


def _here() -> _Surroundings:
    """Called in the event loop of the caller."""
    return _Surroundings(current_effective_deadline() - current_time(), inject(get_current(), NO_TRACE))


def _in_thread() -> _Surroundings:
    return _Surroundings(inf, inject(get_current(), NO_TRACE))


@lru_cache(maxsize=256)
def _fingerprint(request: Descriptor, response: Descriptor) -> Fingerprint:
    """The contract that the caller was written for. The instances of the model decide whether they can read it."""
    return Contract.from_descriptors(request, response).fingerprint
