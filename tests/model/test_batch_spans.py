"""Each task of a batch keeps its trace; the call has a span of its own, linked to all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
import structlog
from anyio.lowlevel import checkpoint
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from hub.model.execution import batch_executor
from hub.model.worker import spans
from tests.model.batch_models import Batch, Small, replies
from tests.model.fakes import INSTANCE, TIMEOUT, BreakableStore, WatchedBroker, ended, submit, task, worker

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    made = TracerProvider()
    for module in (spans, batch_executor):
        monkeypatch.setattr(module, "tracer", lambda: made.get_tracer("hub"))
    yield made
    made.shutdown()


def traceparent(digit: int) -> str:
    return f"00-{str(digit) * 32}-{str(digit) * 16}-01"


async def test_a_call_is_linked_to_the_runs_of_its_tasks_and_their_traces_stay_apart(
    broker: WatchedBroker, store: BreakableStore, provider: TracerProvider
) -> None:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    inside: list[trace.SpanContext] = []

    async def answer(requests: Batch) -> Any:
        await checkpoint()
        inside.append(trace.get_current_span().get_span_context())
        return [replies(requests)[0], ValueError("no")]

    those = [replace(task(f"{digit}"), traceparent=traceparent(digit)) for digit in (1, 2)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Small(answer), broker, store):
            states = [(await ended(store, each)).state for each in those]
    finished = exporter.get_finished_spans()
    runs = [span for span in finished if span.name == "process Echo"]
    [call] = [span for span in finished if span.name == "process_batch Echo"]
    assert sorted(f"{context(run).trace_id:032x}" for run in runs) == ["1" * 32, "2" * 32]
    assert sorted(run.status.status_code is StatusCode.ERROR for run in runs) == [False, True]
    assert len(set(states)) == 2
    assert {link.context.span_id for link in call.links} == {context(run).span_id for run in runs}
    assert call.parent is None
    assert [each.span_id for each in inside] == [context(call).span_id]
    assert call.attributes == {"messaging.batch.message_count": 2}


def context(span: ReadableSpan) -> trace.SpanContext:
    found = span.context
    assert isinstance(found, trace.SpanContext)
    return found


async def test_lines_of_the_log_in_a_call_name_the_model_and_no_task(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    bound: list[dict[str, Any]] = []

    async def answer(requests: Batch) -> Any:
        await checkpoint()
        bound.append(structlog.contextvars.get_contextvars())
        return replies(requests)

    those = [task("1"), task("2")]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Small(answer), broker, store):
            for each in those:
                await ended(store, each)
    assert bound == [{"model": "Echo", "instance": INSTANCE, "batch": 2}]
