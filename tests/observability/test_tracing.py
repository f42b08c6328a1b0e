"""W3C Trace Context in and out of OpenTelemetry's contexts."""

from __future__ import annotations

from hub.observability.tracing import TraceContext, extract, inject

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_without_an_sdk_the_headers_are_passed_on_unchanged() -> None:
    came = TraceContext("garbage", "x=y")
    assert inject(extract(came), came) == came


def test_an_extracted_context_is_injected_again() -> None:
    came = TraceContext(TRACEPARENT, "vendor=1")
    assert inject(extract(came), TraceContext()) == came
