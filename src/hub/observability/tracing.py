"""One trace from the HTTP request to the run of the model: W3C Trace Context through the task.

hub creates spans through opentelemetry-api only. Without an SDK in the process nothing is recorded, and the `traceparent`
and `tracestate` of a client are passed on unchanged.
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
    """The tracer of hub from the provider of the process; `None` without a provider, when no span would be recorded."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer("hub")


def extract(carried: TraceContext) -> Context:
    """A context whose current span is the remote one of `carried`; an empty context if there is none."""
    if not carried.traceparent:
        return Context()
    return _PROPAGATOR.extract(
        {"traceparent": carried.traceparent, "tracestate": carried.tracestate}, context=Context()
    )


def inject(context: Context, fallback: TraceContext) -> TraceContext:
    """The headers for the current span of `context`; `fallback` if it has no valid one."""
    if not trace.get_current_span(context).get_span_context().is_valid:
        return fallback
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=context)
    return TraceContext(carrier.get("traceparent", ""), carrier.get("tracestate", ""))
