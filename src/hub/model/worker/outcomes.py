"""The one place that turns what happened to a task into its outcome."""

from __future__ import annotations

from hub.errors import HubError, Undecodable
from hub.model.errors import ChildError, ModelExit
from hub.model.worker.run import TaskRun
from hub.observability.tracebacks import STORED_LINES, describe, lines, text_of_error
from hub.safe_text import full_name
from hub.task import DEADLINE_EXCEEDED, PARENT_ENDED, Failure, Outcome
from hub.types import InstanceId, TaskState


def success(run: TaskRun, body: bytes, *, instance: InstanceId, now: float) -> Outcome:
    return Outcome(
        task_id=run.task.id,
        state=TaskState.SUCCEEDED,
        body=body,
        attempt=run.attempt,
        instance=instance,
        started_at=run.started_at,
        finished_at=now,
        chunks=run.chunks,
    )


def failure(run: TaskRun, error: BaseException, *, instance: InstanceId, now: float, debug: bool = False) -> Outcome:
    """The outcome of a run that raised `error`.

    A request that is no request message can never be answered, so its task is dead. Everything else is a failure: one
    of hub's own errors under its own code, whatever the model raised as `model_error`.

    Args:
        run: The run.
        error: What it raised.
        instance: Where.
        now: Unix seconds.
        debug: Put the traceback into the outcome, where clients see it.
    """
    state = TaskState.DEAD if isinstance(error, Undecodable) else TaskState.FAILED
    return _failed(run, _describe(error, debug=debug), state, instance=instance, now=now)


def dead(run: TaskRun, *, code: str, message: str, instance: InstanceId, now: float) -> Outcome:
    """The outcome of a task that is given up without a run."""
    return _failed(run, Failure(code=code, message=message), TaskState.DEAD, instance=instance, now=now)


def expired(run: TaskRun, *, instance: InstanceId, now: float) -> Outcome:
    """The outcome of a task whose deadline has passed, before or during its run."""
    ran = run.started_at is not None
    text = "its deadline passed while it ran" if ran else "its deadline had passed before an instance was free"
    return _failed(run, Failure(code=DEADLINE_EXCEEDED, message=text), TaskState.EXPIRED, instance=instance, now=now)


def parent_ended(run: TaskRun, parent: TaskState, *, now: float) -> Outcome:
    """The outcome of a task whose parent has ended; without an instance, so that the store reports it to this one."""
    failure = Failure(code=PARENT_ENDED, message=f"the task that it was called from has ended: {parent.value}")
    return Outcome(
        task_id=run.task.id, state=TaskState.CANCELLED, failure=failure, attempt=run.attempt, finished_at=now
    )


def ran_too_long(run: TaskRun, limit: float, *, instance: InstanceId, now: float) -> Outcome:
    """The outcome of a run that the broker would soon have taken for dead."""
    text = (
        f"it ran for {limit:g} s, which is all that the broker's consumer timeout leaves: raise consumer_timeout in "
        "rabbitmq.conf and HUB_CONSUMER_TIMEOUT with it, or split the work"
    )
    return _failed(run, Failure(code="run_too_long", message=text), TaskState.FAILED, instance=instance, now=now)


def too_large(run: TaskRun, size: int, limit: int, *, instance: InstanceId, now: float) -> Outcome:
    """The outcome of a run whose response is larger than the store is to keep."""
    text = (
        f"its response has {size} bytes, and {limit} are allowed: return less (the address of a file, say), or raise "
        "result_limit of its instances (HUB_RESULT_LIMIT)"
    )
    return _failed(run, Failure(code="result_too_large", message=text), TaskState.FAILED, instance=instance, now=now)


def _failed(run: TaskRun, failure: Failure, state: TaskState, *, instance: InstanceId, now: float) -> Outcome:
    return Outcome(
        task_id=run.task.id,
        state=state,
        failure=failure,
        attempt=run.attempt,
        instance=instance,
        started_at=run.started_at if run.attempt else None,
        finished_at=now,
        chunks=run.chunks,
    )


def _describe(error: BaseException, *, debug: bool) -> Failure:
    if isinstance(error, ChildError):
        traceback = error.traceback if debug else ""
        return Failure(code=error.code, type=error.type, message=error.message, traceback=traceback)
    return Failure(
        code=error.code if isinstance(error, HubError) else "model_error",
        type=error.type if isinstance(error, ModelExit) else full_name(type(error)).removeprefix("builtins."),
        message=text_of_error(error),
        traceback="\n".join(lines(describe(error), STORED_LINES)) if debug else "",
    )
