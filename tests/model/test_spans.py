"""One trace from the submit to the run, with an SDK that keeps spans in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from hub.model.worker import spans
from tests.model.fakes import TIMEOUT, BreakableStore, Echo, WatchedBroker, ended, submit, task, worker

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(spans, "tracer", lambda: provider.get_tracer("hub"))
    yield kept
    provider.shutdown()


async def run(traceparent: str, behaviour: str = "fine") -> None:
    async def act(text: str) -> str:
        with trace.get_tracer("model").start_as_current_span("inside"):
            if text == "bad":
                raise ValueError("no")
        return text

    store = BreakableStore()
    broker = WatchedBroker(store)
    one = replace(task(behaviour), traceparent=traceparent, tracestate="vendor=1")
    with anyio.fail_after(TIMEOUT):
        async with broker.inner:
            await submit(broker, store, one)
            async with worker(Echo(act), broker, store):
                await ended(store, one)


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    [span] = exporter.get_finished_spans()
    return span


async def test_the_run_is_a_child_of_the_submit_and_linked_to_it(exporter: InMemorySpanExporter) -> None:
    await run(TRACEPARENT)
    span = only(exporter)
    assert span.name == "process Echo"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert [link.context.span_id for link in span.links] == [span.parent.span_id]
    assert span.context.trace_state.get("vendor") == "1"
    assert span.attributes is not None
    assert span.attributes["messaging.destination.name"] == "Echo"
    assert span.attributes["hub.attempt"] == 1
    assert span.status.status_code is StatusCode.UNSET


async def test_a_failure_is_recorded_in_the_span(exporter: InMemorySpanExporter) -> None:
    await run(TRACEPARENT, "bad")
    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-0-0-01"])
async def test_a_task_without_a_trace_begins_one(exporter: InMemorySpanExporter, traceparent: str) -> None:
    await run(traceparent)
    span = only(exporter)
    assert span.parent is None
    assert not span.links
