"""Errors of the client: one class for each family of problem codes of the gateway.

Each error of a reply has the `code`, `title` and `status` of that reply, its `detail`, and `retry_after`; `docs/client.md`
lists which codes belong to which class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from typing_extensions import override

from hub.errors import ConnectionLost, HubError
from hub.types import TaskState


class GatewayError(HubError):
    """The gateway answered with a problem (RFC 9457).

    Attributes:
        code: The problem's own code; branch on it where a family is not exact enough.
        title: The problem's title.
        status: The HTTP status, or that of the line in a batch.
        detail: What was wrong with this request, with the repair.
        task: Id of the task that the problem is about; empty if there is none.
        problem: All members of the problem.
    """

    code = "gateway_error"
    status = 502
    title = "The gateway reported an error"

    def __init__(self, problem: Mapping[str, object], retry_after: float | None = None) -> None:
        super().__init__(problem, retry_after)
        self.problem = problem
        self.code = _text(problem, "code") or type(self).code
        self.title = _text(problem, "title") or type(self).title
        status = problem.get("status")
        self.status = status if isinstance(status, int) else type(self).status
        self.detail = _text(problem, "detail")
        self.task = _text(problem, "task")
        self._retry_after = retry_after

    @override
    def __str__(self) -> str:
        return self.detail or self.title

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {name: value for name, value in self.problem.items() if name not in _MEMBERS}

    @property
    @override
    def retry_after(self) -> float | None:
        return self._retry_after


class BadRequest(GatewayError):
    """The request cannot be read or is not supported: headers, media types, size, host."""

    code = "bad_request"
    status = 400
    exit_code = 2


class InvalidRequest(GatewayError):
    """The request is not a request message of the model, or breaks its rules. `errors` has a pointer for each bad field."""

    code = "invalid_request"
    status = 422
    exit_code = 2

    @property
    def errors(self) -> Sequence[Mapping[str, object]]:
        """`pointer` (RFC 6901) and `message` of each bad field."""
        found = self.problem.get("errors")
        items = cast("Sequence[object]", found) if isinstance(found, list) else ()
        return [cast("Mapping[str, object]", item) for item in items if isinstance(item, Mapping)]


class AccessDenied(GatewayError):
    """The API key is missing, wrong, or may not do this."""

    code = "access_denied"
    status = 401
    exit_code = 2


class NotFound(GatewayError):
    """There is no such model or task, or the record of the task has expired."""

    code = "not_found"
    status = 404
    exit_code = 2


class Conflict(GatewayError):
    """The request conflicts with the state of a task, or an idempotency key was used with another request."""

    code = "conflict"
    status = 409


class Overloaded(GatewayError):
    """The queue is full, or the gateway is busy. No task was made; the client has retried until its limit."""

    code = "overloaded"
    status = 429
    exit_code = 3


class Unavailable(GatewayError):
    """The model or a server behind the gateway is temporarily out of reach. No task was made."""

    code = "unavailable"
    status = 503
    exit_code = 3


class GatewayFault(GatewayError):
    """The gateway failed, or the result of a task that succeeded cannot be read or written."""

    code = "gateway_fault"
    status = 500


class TaskUnsuccessful(GatewayError):
    """A task has ended without a result. Its subclasses say how.

    Attributes:
        state: The final state.
        failure: `code`, `message` and perhaps `type` and `traceback`; empty if the reply has none.
    """

    code = "task_unsuccessful"

    def __init__(self, problem: Mapping[str, object], retry_after: float | None = None) -> None:
        super().__init__(problem, retry_after)
        self.state = TaskState(_text(problem, "state") or TaskState.FAILED)
        failure = problem.get("failure")
        self.failure: Final[Mapping[str, object]] = (
            cast("Mapping[str, object]", failure) if isinstance(failure, Mapping) else {}
        )


class ModelFailed(TaskUnsuccessful):
    """The model raised an error, or the task is dead: `failure` has the reason."""

    code = "task_failed"
    status = 502


class TaskWasCancelled(TaskUnsuccessful):
    """The task was cancelled, by a client or because the task that called it has ended."""

    code = "task_cancelled"
    status = 409


class DeadlineMissed(TaskUnsuccessful):
    """The deadline of the task has passed before it had a result."""

    code = "task_expired"
    status = 504


class GatewayUnreachable(ConnectionLost):
    """The gateway could not be reached, or the connection was lost, until the limit for retries or the deadline."""

    code = "gateway_unreachable"
    title = "The gateway cannot be reached"

    @override
    def __str__(self) -> str:
        return f"no reply from the {self.server}: {self.reason}"

    @property
    @override
    def retry_after(self) -> float | None:
        return None


class UnexpectedReply(HubError):
    """The server answered with something that is no reply of a gateway: check the URL, and proxies on the way."""

    code = "unexpected_reply"
    status = 502
    title = "Not the reply of a gateway"
    exit_code = 2

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(request, reason)
        self.request = request
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"{self.request}: {self.reason}"


class StreamRestarted(HubError):
    """Another attempt of a streaming task has begun: the chunks that were read do not count any more.

    Raised by a stream without `on_restart`, once chunks of an earlier attempt have been read.
    """

    code = "stream_restarted"
    status = 409
    title = "The stream began again"

    def __init__(self, task: str, attempt: int) -> None:
        super().__init__(task, attempt)
        self.task = task
        self.attempt = attempt

    @override
    def __str__(self) -> str:
        return (
            f"attempt {self.attempt} of task {self.task} has begun, so the chunks so far are void: drop them and open the "
            "stream again, or pass on_restart and drop them when it is called"
        )


_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code"})

_BY_CODE: Final[Mapping[str, type[GatewayError]]] = {
    "task_failed": ModelFailed,
    "task_cancelled": TaskWasCancelled,
    "task_expired": DeadlineMissed,
    "gateway_busy": Overloaded,
    "contract_unavailable": GatewayFault,
}

_BY_STATUS: Final[Mapping[int, type[GatewayError]]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    422: InvalidRequest,
    429: Overloaded,
    503: Unavailable,
}

_OF_STATE: Final[Mapping[TaskState, type[TaskUnsuccessful]]] = {
    TaskState.CANCELLED: TaskWasCancelled,
    TaskState.EXPIRED: DeadlineMissed,
}

_CLIENT_ERRORS: Final = range(400, 500)


def error_of(problem: Mapping[str, object], status: int, retry_after: float | None = None) -> GatewayError:
    """The error for a problem. `status` counts where the problem has none."""
    family = _BY_CODE.get(_text(problem, "code")) or _BY_STATUS.get(status)
    if family is None:
        family = BadRequest if status in _CLIENT_ERRORS else GatewayFault
    return family({"status": status, **problem}, retry_after)


def error_of_task(task: str, state: TaskState, failure: Mapping[str, object]) -> TaskUnsuccessful:
    """The error for a task that has ended without a result."""
    family = _OF_STATE.get(state, ModelFailed)
    message = str(failure.get("message") or failure.get("code") or "there is no result")
    return family(
        {
            "code": family.code,
            "title": "The task has no result",
            "status": family.status,
            "detail": f"task {task} {state.value}: {message}",
            "task": task,
            "state": state.value,
            "failure": failure,
        }
    )


def _text(problem: Mapping[str, object], name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""
