"""The span of one run of a task."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span

from hub.observability.tracebacks import STORED_LINES, describe, lines
from hub.observability.tracing import TraceContext, extract, tracer
from hub.task import Task
from hub.types import InstanceId


@contextmanager
def run_span(task: Task, *, attempt: int, instance: InstanceId) -> Generator[None]:
    """Makes a CONSUMER span the current one: a child of the submit's span, and linked to it.

    Both, because each kind of tool understands one of them: the child makes it one trace, the link says that there was a
    queue in between (OpenTelemetry semantic conventions for messaging spans, "Message creation context as parent").
    An error that leaves the block is recorded; so is a cancellation, as an event.
    """
    maker = tracer()
    if maker is None:
        yield
        return
    parent = extract(TraceContext(task.traceparent, task.tracestate))
    sent = get_current_span(parent).get_span_context()
    with maker.start_as_current_span(
        f"process {task.model}",
        context=parent,
        kind=SpanKind.CONSUMER,
        links=[Link(sent)] if sent.is_valid else None,
        attributes={
            "messaging.system": "rabbitmq",
            "messaging.destination.name": task.model,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": task.id,
            "hub.attempt": attempt,
            "hub.instance": instance,
        },
        record_exception=False,  # the SDK would format it without a bound
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            _record(span, error)
            raise


def _record(span: Span, error: BaseException) -> None:
    """As OpenTelemetry's semantic conventions for exceptions say, with texts as they stand in the log."""
    described = describe(error)
    first = described[0]
    span.add_event(
        "exception",
        {
            "exception.type": first.kind,
            "exception.message": first.text,
            "exception.stacktrace": "\n".join(lines(described, STORED_LINES)),
            "exception.escaped": "False",
        },
    )
    if isinstance(error, Exception):
        span.set_status(Status(StatusCode.ERROR, f"{first.kind}: {first.text}"))
