"""From the HTTP request through the queue to the run of the model: one trace, and log lines with task, model and instance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import anyio
import pytest
from httpx2 import AsyncClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.cli.up import UpSummary, run_up
from hub.concurrency.services import background_service
from hub.http.client import open_client
from hub.settings.up import UpSettings

TIMEOUT = 30.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Traced(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if request.messages == "bad":
            raise ValueError("no luck")
        return ModelAResponse(reply=request.messages)


class Calling(hub.Model[ModelARequest, ModelAResponse]):
    """Calls Traced."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return await hub.current_task().call(Traced, request)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for module in ("hub.submission.spans", "hub.model.worker.spans"):
        monkeypatch.setattr(f"{module}.tracer", lambda: provider.get_tracer("hub"))
    yield kept
    provider.shutdown()


def up() -> UpSettings:
    return UpSettings(gateway_port=0, registry_port=0, dashboard_port=0)


async def call(client: AsyncClient, summary: UpSummary, text: str, model: str = "Traced") -> int:
    response = await client.post(
        f"{summary.gateway_url}/v1/models/{model}",
        json={"messages": text},
        headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"},
    )
    return response.status_code


def named(spans: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    [span] = [span for span in spans if span.name == name]
    return span


async def test_a_call_and_its_run_are_one_trace_and_the_run_is_linked_to_the_submit(
    exporter: InMemorySpanExporter,
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with open_client() as client, background_service(partial(run_up, [Traced], up()), name="hub") as summary:
            assert await call(client, summary, "hello") == 200
    spans = exporter.get_finished_spans()
    submit, run = named(spans, "publish Traced"), named(spans, "process Traced")
    assert {format_trace_id(span.context.trace_id) for span in spans} == {TRACE}
    assert submit.parent is not None
    assert format_span_id(submit.parent.span_id) == CALLER
    assert run.parent is not None
    assert run.parent.span_id == submit.context.span_id
    assert [link.context.span_id for link in run.links] == [submit.context.span_id]
    assert (submit.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert submit.attributes is not None
    assert run.attributes is not None
    assert submit.attributes["messaging.message.id"] == run.attributes["messaging.message.id"]


async def test_a_model_that_calls_another_one_is_in_the_same_trace(exporter: InMemorySpanExporter) -> None:
    with anyio.fail_after(TIMEOUT):
        async with (
            open_client() as client,
            background_service(partial(run_up, [Traced, Calling], up()), name="hub") as summary,
        ):
            assert await call(client, summary, "hello", "Calling") == 200
    spans = exporter.get_finished_spans()
    chain = [named(spans, name) for name in ("publish Calling", "process Calling", "publish Traced", "process Traced")]
    assert {format_trace_id(span.context.trace_id) for span in spans} == {TRACE}
    for above, below in pairwise(chain):
        assert below.parent is not None
        assert below.parent.span_id == above.context.span_id


async def test_log_lines_about_a_task_have_task_model_and_instance() -> None:
    with anyio.fail_after(TIMEOUT), capture_logs(processors=[merge_contextvars]) as lines:
        async with open_client() as client, background_service(partial(run_up, [Traced], up()), name="hub") as summary:
            assert await call(client, summary, "bad") == 502
    [line] = [line for line in lines if line["event"] == "run failed"]
    assert line["model"] == "Traced"
    assert len(line["task"]) == len(line["instance"]) == 36
