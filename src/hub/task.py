"""The values of the task life cycle, and their protobuf form (`protos/hub/v1/task.proto`).

Times are Unix seconds (UTC) as floats, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from hub.errors import Undecodable
from hub.types import DEFAULT_RESULT_TTL, Fingerprint, InstanceId, ModelName, TaskId, TaskState, parse_task_id
from hub.v1 import task_pb2

DEADLINE_EXCEEDED: Final = "deadline_exceeded"
"""Code of the failure of an expired task."""

MIN_TIME: Final = -62_135_596_800.0
"""The year 1, in Unix seconds: earlier times have no date."""

MAX_TIME: Final = 253_402_300_799.0
"""The end of the year 9999."""

LONGEST_TTL: Final = 100 * 365 * 24 * 3600.0
"""Maximum number of seconds that an outcome is stored."""

LONGEST_TEXT: Final = 8192
"""Characters of one of the short texts of a task: the limit of a header of an HTTP request."""

_BIG: Final = 64 * 1024
"""Bytes of a body from which on it is written behind the message, where the last value counts: it is copied once then."""

_BODY_TAG: Final = bytes((3 << 3 | 2,))
"""The field `body` of `Task` and `Outcome`, which has the number 3."""

MAX_ANCESTORS: Final = 64
"""Length of a chain of calls: none of its models occurs twice."""

PARENT_ENDED: Final = "parent_ended"
"""Code of the failure of a task that was ended because its parent has ended."""

_STATES: Final = {state: task_pb2.TaskState.Value(f"TASK_STATE_{state.name}") for state in TaskState}
_STATES_BACK: Final = {number: state for state, number in _STATES.items()}
_NANO: Final = 1_000_000_000
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A running task whose model has called another model."""

    task: TaskId
    model: ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work for a model; `encode()` is the body of its message on the queue.

    Attributes:
        ancestors: The tasks that it was called from, outermost first; the last one is its parent. Empty: a client made it.
    """

    id: TaskId
    model: ModelName
    body: bytes
    fingerprint: Fingerprint
    created_at: float
    deadline: float | None = None
    result_ttl: float = DEFAULT_RESULT_TTL
    reply_channel: str = ""
    traceparent: str = ""
    tracestate: str = ""
    idempotency_key: str = ""
    ancestors: tuple[Ancestor, ...] = ()

    @property
    def parent(self) -> TaskId | None:
        """The task that it was called from, whose end ends it; `None` if a client made it."""
        return self.ancestors[-1].task if self.ancestors else None

    @property
    def digest(self) -> str:
        """SHA-256 of the body of a task with an idempotency key, which identifies a repeated submit; otherwise empty."""
        return sha256(self.body).hexdigest() if self.idempotency_key else ""

    def encode(self) -> bytes:
        message = task_pb2.Task(
            id=self.id,
            model=self.model,
            body=self.body if len(self.body) < _BIG else b"",
            fingerprint=self.fingerprint,
            created_at=_timestamp(self.created_at),
            result_ttl=_duration(self.result_ttl),
            reply_channel=self.reply_channel,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            idempotency_key=self.idempotency_key,
        )
        if self.deadline is not None:
            message.deadline.CopyFrom(_timestamp(self.deadline))
        for ancestor in self.ancestors:
            message.ancestors.add(task=ancestor.task, model=ancestor.model)
        return _with_big_body(message.SerializeToString(), self.body)

    @classmethod
    def decode(cls, data: bytes) -> Task:
        """Reads a serialized `hub.v1.Task`.

        Raises:
            Undecodable: `data` is not a task, or one of its values is invalid; the text names the field.
        """
        try:
            message = task_pb2.Task.FromString(data)
        except DecodeError as error:
            raise Undecodable("hub.v1.Task", str(error)) from error
        if len(data) > LONGEST_TEXT:
            for name in ("fingerprint", "reply_channel", "traceparent", "tracestate", "idempotency_key"):
                if len(getattr(message, name)) > LONGEST_TEXT:
                    raise Undecodable("hub.v1.Task", f"{name} has more than {LONGEST_TEXT} characters")
        if message.id != parse_task_id(message.id):
            raise Undecodable("hub.v1.Task", f"id is not a UUID in its usual form: {message.id[:_SHOWN]!r}")
        if len(message.reply_channel.split()) > 1 or not message.reply_channel.isprintable():
            raise Undecodable("hub.v1.Task", f"reply_channel is not a channel: {message.reply_channel[:_SHOWN]!r}")
        if not 0 < len(message.model) <= LONGEST_TEXT:
            raise Undecodable("hub.v1.Task", f"model has no name, or one of more than {LONGEST_TEXT} characters")
        return cls(
            id=TaskId(message.id),
            model=ModelName(message.model),
            body=message.body,
            fingerprint=Fingerprint(message.fingerprint),
            created_at=_time("hub.v1.Task", "created_at", message.created_at),
            deadline=_time("hub.v1.Task", "deadline", message.deadline) if message.HasField("deadline") else None,
            result_ttl=_ttl(message.result_ttl) if message.HasField("result_ttl") else DEFAULT_RESULT_TTL,
            reply_channel=message.reply_channel,
            traceparent=message.traceparent,
            tracestate=message.tracestate,
            idempotency_key=message.idempotency_key,
            ancestors=_ancestors(message) if message.ancestors else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The reason why a task has no response.

    Attributes:
        code: Machine-readable and stable, such as `model_error` or `wrong_contract`.
        type: The class of the exception that the model raised, with its module; empty if there was none.
        message: The text of the error.
        traceback: Only from an instance in debug mode, otherwise empty.
    """

    code: str
    message: str
    type: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended: the serialized response, or a failure. Exactly one of `body` and `failure` is set.

    Attributes:
        body: The serialized response; empty if the run was a streaming one, whose response is its chunks.
        chunks: Number of chunks of the streaming run that this outcome came from; `None` if it came from no such run.
    """

    task_id: TaskId
    state: TaskState
    body: bytes | None = None
    failure: Failure | None = None
    attempt: int = 0
    instance: InstanceId | None = None
    started_at: float | None = None
    finished_at: float
    chunks: int | None = None

    def __post_init__(self) -> None:
        if not self.state.terminal or (self.body is None) == (self.failure is None):
            raise ValueError(f"an outcome has a terminal state and either a body or a failure, not {self!r}")

    def encode(self, *, with_id: bool = True) -> bytes:
        """Serializes it as a `hub.v1.Outcome`, for a store whose keys have the id `with_id` off."""
        message = task_pb2.Outcome(
            task_id=self.task_id if with_id else "",
            state=_STATES[self.state],
            attempt=self.attempt,
            instance=self.instance or "",
            finished_at=_timestamp(self.finished_at),
        )
        if self.started_at is not None:
            message.started_at.CopyFrom(_timestamp(self.started_at))
        if self.chunks is not None:
            message.chunks = self.chunks
        if self.failure is None:
            message.body = self.body if self.body and len(self.body) < _BIG else b""
        else:
            message.failure.code = self.failure.code
            message.failure.type = self.failure.type
            message.failure.message = self.failure.message
            message.failure.traceback = self.failure.traceback
        return _with_big_body(message.SerializeToString(), b"" if self.failure else self.body or b"")

    @classmethod
    def decode(cls, data: bytes, task_id: TaskId | None = None) -> Outcome:
        """Reads a serialized `hub.v1.Outcome`.

        Args:
            data: What `encode` returns.
            task_id: Of whose task it is, if that is known from elsewhere.

        Raises:
            Undecodable: `data` is not an outcome.
        """
        try:
            message = task_pb2.Outcome.FromString(data)
            failure = message.failure if message.HasField("failure") else None
            return cls(
                task_id=task_id or TaskId(message.task_id),
                state=_STATES_BACK[message.state],
                body=message.body if message.HasField("body") else None,
                failure=failure
                and Failure(code=failure.code, type=failure.type, message=failure.message, traceback=failure.traceback),
                attempt=message.attempt,
                instance=InstanceId(message.instance) if message.instance else None,
                started_at=_time("hub.v1.Outcome", "started_at", message.started_at)
                if message.HasField("started_at")
                else None,
                finished_at=_time("hub.v1.Outcome", "finished_at", message.finished_at),
                chunks=message.chunks if message.HasField("chunks") else None,
            )
        except (DecodeError, KeyError, ValueError) as error:
            raise Undecodable("hub.v1.Outcome", str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run, as reported by the model.

    Attributes:
        fraction: Share of the work that is done, from 0 to 1; `None` if unknown.
        message: A text for clients; may be empty.
        at: Time of the report, in Unix seconds.
    """

    fraction: float | None
    message: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """The record of a task in the store.

    Attributes:
        revision: Number of changes of the record, from 1; with the id, an ETag.
        attempt: Number of runs that were started so far.
        retries: Number of failed runs that were followed by another one by the policy of the model.
        retry_at: Time of the next run of a queued task, in Unix seconds; `None` if it may run at once.
        progress: The last report of the present run.
        digest: `Task.digest` of the submit.
        pending: Whether its message is not confirmed yet; only visible for tasks with an idempotency key.
        instance: The instance that started the last run.
        started_at: Start of the present run, in Unix seconds; after the end of the task, that of the last run. `None`
            while the task is queued, also before a further attempt.
        updated_at: Time of the last change of `revision`.
        expires_at: Time after which the store may have removed the record. Moves forward with each change.
        outcome: Set if and only if `state` is terminal.
        parent: The task whose model has called this one; `None` for the task of a client.
        chunks: Number of chunks that are stored of the newest run; 0 if it does not stream.
    """

    id: TaskId
    model: ModelName
    state: TaskState
    revision: int
    attempt: int
    instance: InstanceId | None
    fingerprint: Fingerprint
    created_at: float
    updated_at: float
    deadline: float | None
    expires_at: float
    outcome: Outcome | None
    started_at: float | None = None
    retries: int = 0
    retry_at: float | None = None
    progress: Progress | None = None
    digest: str = ""
    pending: bool = False
    parent: TaskId | None = None
    chunks: int = 0


def _ancestors(message: task_pb2.Task) -> tuple[Ancestor, ...]:
    if len(message.ancestors) > MAX_ANCESTORS:
        raise Undecodable("hub.v1.Task", f"it has more than {MAX_ANCESTORS} ancestors")
    for ancestor in message.ancestors:
        if ancestor.task != parse_task_id(ancestor.task) or not 0 < len(ancestor.model) <= LONGEST_TEXT:
            raise Undecodable(
                "hub.v1.Task", f"not an ancestor: {ancestor.task[:_SHOWN]!r}, {ancestor.model[:_SHOWN]!r}"
            )
    return tuple(Ancestor(TaskId(each.task), ModelName(each.model)) for each in message.ancestors)


def _timestamp(seconds: float) -> Timestamp:
    whole, nanos = _split(seconds)
    return Timestamp(seconds=whole, nanos=nanos)


def _duration(seconds: float) -> Duration:
    whole, nanos = _split(seconds)
    return Duration(seconds=whole, nanos=nanos)


def _split(seconds: float) -> tuple[int, int]:
    """Whole seconds and nanoseconds, from which `_seconds` restores exactly the same number."""
    whole, fraction = divmod(seconds, 1.0)  # before scaling: a double cannot represent nanoseconds since 1970
    carry, nanos = divmod(round(fraction * _NANO), _NANO)
    return int(whole) + carry, nanos


def _seconds(value: Timestamp | Duration) -> float:
    return value.seconds + value.nanos / _NANO


def _time(what: str, name: str, value: Timestamp) -> float:
    seconds = _seconds(value)
    if 0 <= value.nanos < _NANO and MIN_TIME <= seconds <= MAX_TIME:
        return seconds
    raise Undecodable(what, f"{name} is not a time between the years 1 and 9999: {value.seconds} s, {value.nanos} ns")


def _ttl(value: Duration) -> float:
    seconds = _seconds(value)
    if 0 <= value.nanos < _NANO and 0 <= seconds <= LONGEST_TTL:
        return seconds
    raise Undecodable(
        "hub.v1.Task", f"result_ttl is not from 0 to {LONGEST_TTL:.0f} s: {value.seconds} s, {value.nanos} ns"
    )


def without_big_body(task: Task) -> Task:
    """A task whose message has been sent, without its body if that is big."""
    return task if len(task.body) < _BIG else replace(task, body=b"")


def _with_big_body(message: bytes, body: bytes) -> bytes:
    """A serialized task or outcome, with a body that it has not been given."""
    if len(body) < _BIG:
        return message
    return b"".join((message, _BODY_TAG, varint(len(body)), body))


def varint(number: int) -> bytes:
    """A number from 0 on, as protobuf's wire format has lengths."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
