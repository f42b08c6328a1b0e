"""A submit is a span in the trace of its request, and its task has the context of the span."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from hub.errors import Unroutable
from hub.types import ModelName
from tests.gateway.fixtures import CONTRACT_A, LocalGateway, echo_a
from tests.gateway.test_submit import TASKS, problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
WAIT = {"Prefer": "wait=5"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an SDK gets to see. It is not made the process's own, which could not be undone."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("hub.submission.spans.tracer", lambda: provider.get_tracer("hub"))
    yield exporter
    provider.shutdown()


async def test_a_submit_is_a_producer_span_below_the_one_of_its_client(
    gateway: LocalGateway, spans: InMemorySpanExporter
) -> None:
    await gateway.model(answer=echo_a)

    await gateway.client.post(TASKS, json={}, headers={**HEADERS, **WAIT})

    (span,) = spans.get_finished_spans()
    (task,) = gateway.received
    assert (span.name, span.kind) == ("publish ModelA", SpanKind.PRODUCER)
    assert span.parent is not None
    assert (format_trace_id(span.context.trace_id), format_span_id(span.parent.span_id)) == (TRACE, PARENT)
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "ModelA",
        "messaging.message.id": task.id,
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_the_message_of_a_task_has_the_context_of_the_span(
    gateway: LocalGateway, spans: InMemorySpanExporter
) -> None:
    await gateway.model(answer=echo_a)

    await gateway.client.post(TASKS, json={}, headers={**HEADERS, **WAIT})

    (span,) = spans.get_finished_spans()
    (task,) = gateway.received
    assert task.traceparent == f"00-{TRACE}-{format_span_id(span.context.span_id)}-01"
    assert task.tracestate == "vendor=1"


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
async def test_a_submit_without_a_trace_starts_one(
    gateway: LocalGateway, spans: InMemorySpanExporter, traceparent: str
) -> None:
    await gateway.model(answer=echo_a)

    await gateway.client.post("/v1/models/ModelA", json={}, headers={"traceparent": traceparent})

    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert gateway.received[0].traceparent.split("-")[1] == format_trace_id(span.context.trace_id)


async def test_the_span_of_a_refused_submit_says_why(gateway: LocalGateway, spans: InMemorySpanExporter) -> None:
    await gateway.list_model(ModelName("Ghost"), CONTRACT_A, live=1)

    assert problem(await gateway.client.post("/v1/models/Ghost/tasks", json={})) == (503, "unroutable")

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == Unroutable.code


@pytest.mark.parametrize(
    ("traceparent", "tracestate"), [("00-abc-def-01", "a=b"), (HEADERS["traceparent"], "vendor=1"), ("", "a=b")]
)
async def test_without_an_sdk_what_the_client_sent_is_passed_on(
    gateway: LocalGateway, traceparent: str, tracestate: str
) -> None:
    await gateway.model(answer=echo_a)
    headers = {"traceparent": traceparent, "tracestate": tracestate}

    await gateway.client.post("/v1/models/ModelA", json={}, headers=headers)

    (task,) = gateway.received
    assert (task.traceparent, task.tracestate) == (traceparent, tracestate)
