"""One trace from the HTTP request to the run of the model: W3C Trace Context through the task.

hub makes spans through opentelemetry-api only. Without an SDK in the process nothing is recorded, and what a client sent
as `traceparent` and `tracestate` is passed on as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR: Final = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The two headers of W3C Trace Context; both may be empty."""

    traceparent: str = ""
    tracestate: str = ""


NO_TRACE: Final = TraceContext()


def tracer() -> trace.Tracer | None:
    """The tracer of hub, of whatever provider the process has set by now; `None` if none is: spans would be lost."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer("hub")


def extract(carried: TraceContext) -> Context:
    """A context whose current span is the remote one that `carried` names; an empty one if it names none."""
    if not carried.traceparent:
        return Context()
    return _PROPAGATOR.extract(
        {"traceparent": carried.traceparent, "tracestate": carried.tracestate}, context=Context()
    )


def inject(context: Context, fallback: TraceContext) -> TraceContext:
    """The `traceparent` of the current span of `context`; `fallback` when it has no valid one."""
    if not trace.get_current_span(context).get_span_context().is_valid:
        return fallback
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=context)
    return TraceContext(carrier.get("traceparent", ""), carrier.get("tracestate", ""))
