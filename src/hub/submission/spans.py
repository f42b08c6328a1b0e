"""The span of a submit, and the trace context that travels with its task."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from hub.errors import HubError
from hub.observability.tracing import TraceContext, extract, inject, tracer
from hub.types import ModelName, TaskId


def publish_span(model: ModelName, task_id: TaskId, trace: TraceContext) -> AbstractContextManager[TraceContext]:
    """A producer span around the block, named and attributed by the messaging conventions of OpenTelemetry.

    Args:
        model: Whose queue the message goes to.
        task_id: Also the id of the message.
        trace: From the client; the span is a child of it.

    Returns:
        A block that yields the trace context for the task: the span, or `trace` itself if no SDK makes spans.
    """
    maker = tracer()
    return nullcontext(trace) if maker is None else _recorded(maker, model, task_id, trace)


@contextmanager
def _recorded(maker: Tracer, model: ModelName, task_id: TaskId, trace: TraceContext) -> Generator[TraceContext]:
    with maker.start_as_current_span(
        f"publish {model}",
        context=extract(trace),
        kind=SpanKind.PRODUCER,
        attributes={
            "messaging.system": "rabbitmq",  # the embedded broker stands for it
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": model,
            "messaging.message.id": task_id,
        },
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield inject(set_span_in_context(span, Context()), trace)
        except HubError as error:
            span.set_attribute("error.type", error.code)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
