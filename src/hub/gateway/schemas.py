"""The JSON bodies of the replies of the gateway. Times are RFC 3339 in UTC, durations are seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import UNSET, Raw, Struct, UnsetType

from hub.http.middleware.root_path import rooted
from hub.ports.directory import ModelLimits
from hub.submission.outcomes import SubmitResult
from hub.task import MAX_TIME, MIN_TIME, Failure, Progress, TaskRecord
from hub.types import InstanceState, TaskId, TaskState


class FailureBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task has no result; see `hub.task.Failure`."""

    code: str
    message: str
    type: str = ""
    traceback: str = ""

    @classmethod
    def of(cls, failure: Failure) -> FailureBody:
        return cls(code=failure.code, message=failure.message, type=failure.type, traceback=failure.traceback)


class ProgressBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a run has come, as it reported; see `hub.task.Progress`."""

    at: datetime
    fraction: float | None = None
    message: str = ""

    @classmethod
    def of(cls, progress: Progress) -> ProgressBody:
        return cls(at=moment(progress.at), fraction=progress.fraction, message=progress.message)


class TaskBody(Struct, frozen=True, kw_only=True):
    """A task.

    Attributes:
        started_at: When the present run started, or the last one of a task that has ended; left out while it waits.
        finished_at: When the task has ended.
        retries: Runs that failed and were retried as the model specifies.
        retry_at: When it runs again, if it has failed and waits for that.
        result: The response message in ProtoJSON, when the task has succeeded.
        result_url: The URL of the result alone, as JSON or protobuf, when the task has succeeded.
        result_error: Why the result is left out, when the task has succeeded and it is.
        chunks: Of a streaming model: how many chunks the present run has yielded, or the last one of a task that has ended.
        chunks_url: The URL of these chunks. `result` is left out.
        failure: Why there is no result, when the task has ended without one.
        parent: The task whose model has called this one; left out of tasks that clients made.
    """

    id: str
    model: str
    state: TaskState
    attempt: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    deadline: datetime | UnsetType = UNSET
    instance: str | None = None
    retries: int = 0
    retry_at: datetime | UnsetType = UNSET
    progress: ProgressBody | UnsetType = UNSET
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    result_url: str | UnsetType = UNSET
    result_error: FailureBody | UnsetType = UNSET
    chunks: int | UnsetType = UNSET
    chunks_url: str | UnsetType = UNSET
    failure: FailureBody | UnsetType = UNSET
    parent: str | UnsetType = UNSET

    @classmethod
    def of(
        cls, record: TaskRecord, result: bytes | None, error: FailureBody | None = None, *, streaming: bool = False
    ) -> TaskBody:
        """The body of `record`; `result` is its response as JSON, if there is one that can be decoded, else `error` says why."""
        outcome = record.outcome
        return cls(
            id=record.id,
            model=record.model,
            state=record.state,
            attempt=record.attempt,
            instance=record.instance,
            created_at=moment(record.created_at),
            updated_at=moment(record.updated_at),
            expires_at=moment(record.expires_at),
            deadline=_moment(record.deadline),
            retries=record.retries,
            retry_at=_moment(record.retry_at),
            progress=UNSET if record.progress is None else ProgressBody.of(record.progress),
            started_at=_moment(record.started_at),
            finished_at=UNSET if outcome is None else moment(outcome.finished_at),
            result=UNSET if result is None else Raw(result),
            result_url=UNSET if outcome is None or outcome.body is None else rooted(f"/v1/tasks/{record.id}/result"),
            result_error=UNSET if error is None else error,
            chunks=record.chunks if streaming else UNSET,
            chunks_url=_chunks_url(record.id) if streaming else UNSET,
            failure=UNSET if outcome is None or outcome.failure is None else FailureBody.of(outcome.failure),
            parent=UNSET if record.parent is None else record.parent,
        )

    @classmethod
    def accepted(cls, task: SubmitResult) -> TaskBody:
        """The body of a task of a streaming model that was accepted just now."""
        return cls(
            id=task.id,
            model=task.model,
            state=task.state,
            attempt=0,
            created_at=moment(task.created_at),
            updated_at=moment(task.created_at),
            expires_at=moment(task.expires_at),
            deadline=_moment(task.deadline),
            chunks=0,
            chunks_url=_chunks_url(task.id),
        )


class AcceptedBody(Struct, frozen=True, kw_only=True):
    """A task that is accepted and has no outcome yet."""

    id: str
    model: str
    state: TaskState
    created_at: datetime
    expires_at: datetime
    deadline: datetime | UnsetType = UNSET

    @classmethod
    def of(cls, task: SubmitResult | TaskRecord) -> AcceptedBody:
        return cls(
            id=task.id,
            model=task.model,
            state=task.state,
            created_at=moment(task.created_at),
            expires_at=moment(task.expires_at),
            deadline=_moment(task.deadline),
        )


class ServedModelBody(Struct, frozen=True, kw_only=True):
    """A model that is alive. `request` and `response` are the full names of its messages; `streaming`: many of the latter."""

    name: str
    instances: int
    fingerprint: str
    request: str
    response: str
    streaming: bool
    call_url: str
    tasks_url: str
    batches_url: str


class ServedModelsBody(Struct, frozen=True, kw_only=True):
    """The models that are alive, by name."""

    models: tuple[ServedModelBody, ...]


class ModelContractBody(Struct, frozen=True, kw_only=True):
    """The messages of a model that is alive, for tools that generate code.

    Attributes:
        descriptors: A serialized `google.protobuf.FileDescriptorSet` with both messages and all that they refer to, dependencies
            first and without comments; base64 in JSON.
        comments: Comments of the `.proto` files; see `hub.registry.client.schemas.LoginBody`.
        limits: Limits of its tasks.
    """

    model: str
    fingerprint: str
    request: str
    response: str
    streaming: bool
    limits: ModelLimits
    comments: dict[str, str]
    descriptors: bytes


class QueueOverviewBody(Struct, frozen=True, kw_only=True):
    """A queue.

    Attributes:
        ready: Messages that wait, by the broker.
        consumers: Consumers of the queue.
        dead: Messages in its dead-letter queue.
        unacked: Messages that instances have not acknowledged, by their last pings; `null` when the registry has no numbers.
        oldest_seconds: Upper bound of the age of the oldest message that waits; `null` likewise.
    """

    ready: int
    consumers: int
    dead: int
    unacked: int | None
    oldest_seconds: float | None


class InstanceCountsBody(Struct, frozen=True, kw_only=True):
    """Instances by state; see `hub.registry.client.views.InstanceState`."""

    live: int
    not_consuming: int
    suspect: int
    loading: int = 0


class QuantilesBody(Struct, frozen=True, kw_only=True):
    """Median and 95th percentile of the last half minute, in seconds; `null` when nothing was timed."""

    p50: float | None
    p95: float | None


class ThroughputBody(Struct, frozen=True, kw_only=True):
    """The work of a model in the last half minute; see `hub.gateway.dashboard.stats`.

    Attributes:
        in_flight: Tasks that run now.
        finished_per_second: Outcomes of every kind; `null` until there are two samples.
        failed_per_second: Outcomes failed, expired and dead; `null` likewise.
        failed: Such outcomes since the gateway started.
        run: From the start of a run to its outcome.
        wait: From the creation of a task to the start of its run.
    """

    in_flight: int
    finished_per_second: float | None
    failed_per_second: float | None
    failed: int
    run: QuantilesBody
    wait: QuantilesBody


class ModelOverviewBody(Struct, frozen=True, kw_only=True):
    """One model on the dashboard. `active` means that at least one instance is live.

    Attributes:
        fingerprint: Of its contract, whose messages `request` and `response` are.
        streaming: Whether it answers with a stream of response messages.
        concurrency: Tasks that one instance processes at a time; batches, if `max_batch_size` is above 1.
        max_batch_size: Tasks in one batch at most; 1 for a model without batches.
        queue: `null` when the broker does not know the queue, or cannot be asked.
        work: `null` when the registry's statistics cannot be read. They come with its pings.
    """

    name: str
    active: bool
    live: int
    instances: int
    states: InstanceCountsBody
    fingerprint: str
    request: str
    response: str
    queue: QueueOverviewBody | None
    work: ThroughputBody | None
    streaming: bool = False
    concurrency: int = 1
    max_batch_size: int = 1


class OverviewTotalsBody(Struct, frozen=True, kw_only=True):
    """Sums over all models; see `ModelOverviewBody`. `null` where no model has the number.

    Attributes:
        known: Models that the registry remembers.
        active: Models with a live instance.
        failed: Tasks that have ended failed, expired or dead since the gateway started.
    """

    known: int = 0
    active: int = 0
    live: int = 0
    waiting: int | None = None
    finished_per_second: float | None = None
    failed: int | None = None

    @classmethod
    def of(cls, models: Sequence[ModelOverviewBody]) -> OverviewTotalsBody:
        queues = [model.queue for model in models if model.queue is not None]
        work = [model.work for model in models if model.work is not None]
        rates = [each.finished_per_second for each in work if each.finished_per_second is not None]
        return cls(
            known=len(models),
            active=sum(model.active for model in models),
            live=sum(model.live for model in models),
            waiting=sum(queue.ready for queue in queues) if queues else None,
            finished_per_second=rounded(sum(rates)) if rates else None,
            failed=sum(each.failed for each in work) if work else None,
        )


class OverviewBody(Struct, frozen=True, kw_only=True):
    """The dashboard. `registry`, `broker` and `figures` say whether the data from them is up to date.

    Attributes:
        models: Those that were asked for.
        totals: Of all models; a gateway of an earlier release does not send it.
        matching: How many models the filter leaves, on all pages.
    """

    at: datetime
    registry: bool
    broker: bool
    figures: bool
    models: tuple[ModelOverviewBody, ...]
    totals: OverviewTotalsBody = OverviewTotalsBody()
    matching: int = 0


Numbers = tuple[float | None, ...]


class ModelSeriesBody(Struct, frozen=True, kw_only=True):
    """Columns of numbers, one for each of the `times`, `null` where there was no value. Seconds, or per second."""

    name: str
    live: Numbers
    ready: Numbers
    dead: Numbers
    oldest: Numbers
    finished: Numbers
    failing: Numbers
    failed: Numbers
    run: Numbers
    wait: Numbers


class TotalSeriesBody(Struct, frozen=True, kw_only=True):
    """The columns of `OverviewTotalsBody`."""

    active: Numbers
    failed: Numbers


class TimeSeriesBody(Struct, frozen=True, kw_only=True):
    """The overview of the last quarter of an hour; `times` are Unix seconds, `period` apart when nothing changed.

    `run` and `wait` of a model are 95th percentiles, `failed` is the count of `ThroughputBody`. The totals are of all models.
    """

    period: float
    times: tuple[float, ...]
    totals: TotalSeriesBody
    models: tuple[Raw, ...]


class ListedInstanceBody(Struct, frozen=True, kw_only=True):
    """An instance in the registry.

    Attributes:
        in_flight: Tasks that it works on; `null` until its first answer to a ping.
        busy_seconds: How long the model's code had blocked its event loop at the last answer; 0 below a second.
    """

    id: str
    model: str
    url: str
    fingerprint: str
    state: InstanceState
    reason: str
    misses: int
    logged_in_at: datetime
    answered_at: datetime | None
    in_flight: int | None
    busy_seconds: float


class InstanceListBody(Struct, frozen=True, kw_only=True):
    """All instances, oldest login first; `at` is the time of the request to the registry."""

    at: datetime
    instances: tuple[ListedInstanceBody, ...]


class InstanceEventBody(Struct, frozen=True, kw_only=True):
    """A change of an instance: `before` is `null` for a login, `after` for a removal."""

    at: datetime
    instance: str
    model: str
    url: str
    before: InstanceState | None
    after: InstanceState | None
    reason: str


class InstanceEventsBody(Struct, frozen=True, kw_only=True):
    """Changes of instances, newest first."""

    events: tuple[InstanceEventBody, ...]


class GatewayHealthBody(Struct, frozen=True, kw_only=True):
    """Whether the gateway can accept tasks; `reasons` says why not.

    Attributes:
        broker_nodes: How many nodes of the broker it has open connections to; 0 without a network. The route requires no
            credential, so the names of the nodes, which are internal, are at `/metrics` only (`hub_broker_connections`).
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    broker_nodes: int = 0


def moment(seconds: float) -> datetime:
    """A date; times outside of the years 1 to 9999, which other programs may have stored, are moved into them."""
    return datetime.fromtimestamp(min(max(seconds, MIN_TIME), MAX_TIME), UTC)


def rounded(value: float | None) -> float | None:
    """Four significant digits: all that a chart shows."""
    return None if value is None else float(f"{value:.4g}")


def _chunks_url(task_id: TaskId) -> str:
    return rooted(f"/v1/tasks/{task_id}/chunks")


def _moment(seconds: float | None) -> datetime | UnsetType:
    return UNSET if seconds is None else moment(seconds)
