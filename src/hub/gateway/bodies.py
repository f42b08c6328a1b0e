"""The JSON bodies of the gateway's replies. Times are RFC 3339 in UTC, durations seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET, Raw, Struct, UnsetType

from hub.gateway.accepted import Accepted
from hub.task import Failure, Progress, TaskRecord
from hub.vocabulary import TaskState


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
    """How far a run has come, by its own account; see `hub.task.Progress`."""

    at: datetime
    fraction: float | None = None
    message: str = ""

    @classmethod
    def of(cls, progress: Progress) -> ProgressBody:
        return cls(at=moment(progress.at), fraction=progress.fraction, message=progress.message)


class TaskBody(Struct, frozen=True, kw_only=True):
    """A task as its client sees it.

    Attributes:
        retries: Runs that failed and were followed by another one, because the model wants that.
        retry_at: When it is to run again, if it failed and waits for that.
        result: The response message in ProtoJSON, when the task has succeeded.
        result_url: Where the result is, alone, as JSON or protobuf, when the task has succeeded.
        failure: Why there is no result, when the task has ended without one.
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
    failure: FailureBody | UnsetType = UNSET

    @classmethod
    def of(cls, record: TaskRecord, result: bytes | None) -> TaskBody:
        """The view of `record`; `result` is its response as JSON, if there is one that can be read."""
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
            started_at=UNSET if outcome is None else _moment(outcome.started_at),
            finished_at=UNSET if outcome is None else moment(outcome.finished_at),
            result=UNSET if result is None else Raw(result),
            result_url=UNSET if outcome is None or outcome.body is None else f"/v1/tasks/{record.id}/result",
            failure=UNSET if outcome is None or outcome.failure is None else FailureBody.of(outcome.failure),
        )


class AcceptedBody(Struct, frozen=True, kw_only=True):
    """A task that was accepted and has not been waited for, or not long enough."""

    id: str
    model: str
    state: TaskState
    created_at: datetime
    expires_at: datetime
    deadline: datetime | UnsetType = UNSET

    @classmethod
    def of(cls, task: Accepted | TaskRecord) -> AcceptedBody:
        return cls(
            id=task.id,
            model=task.model,
            state=task.state,
            created_at=moment(task.created_at),
            expires_at=moment(task.expires_at),
            deadline=_moment(task.deadline),
        )


class ServedModelBody(Struct, frozen=True, kw_only=True):
    """A model that is alive. `request` and `response` are the full names of its messages."""

    name: str
    instances: int
    fingerprint: str
    request: str
    response: str
    call_url: str
    tasks_url: str
    batches_url: str


class ServedModelsBody(Struct, frozen=True, kw_only=True):
    """The models that are alive, by name."""

    models: tuple[ServedModelBody, ...]


class QueueBody(Struct, frozen=True, kw_only=True):
    """A queue as the broker sees it: messages that wait, consumers, and messages in its dead-letter queue."""

    ready: int
    consumers: int
    dead: int


class ModelOverview(Struct, frozen=True, kw_only=True):
    """One model for the dashboard. `queue` is `null` when the broker does not know the queue, or cannot be asked."""

    name: str
    active: bool
    live: int
    instances: int
    queue: QueueBody | None


class OverviewBody(Struct, frozen=True, kw_only=True):
    """What the dashboard shows. `registry` and `broker` say whether what is shown is fresh."""

    at: datetime
    registry: bool
    broker: bool
    models: tuple[ModelOverview, ...]


class HealthBody(Struct, frozen=True, kw_only=True):
    """Whether the gateway can take work; `reasons` says why not."""

    ready: bool
    reasons: tuple[str, ...] = ()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float | None) -> datetime | UnsetType:
    return UNSET if seconds is None else moment(seconds)
