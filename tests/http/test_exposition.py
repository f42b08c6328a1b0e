"""The format of metrics for any `Accept`."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_of
from prometheus_client.parser import text_string_to_metric_families as families_of

from hub.observability.prometheus import exposition

NAMES = st.sampled_from(["text/plain", "application/openmetrics-text", "*/*", "TEXT/PLAIN", "a", ""])
PARAMETERS = st.sampled_from(
    ["version=abc", "version=", "version", "version=1.0.0", "version=0.0.4", 'version="1.0.0"', "version=1e9", "version=9.9.9",
     "version=1.0.0\u00b2", "version=-1", "escaping=allow-utf-8", "escaping=x", "escaping", "q=0", "q=x", "=", ""]
)  # fmt: skip
ELEMENTS = st.builds(lambda name, parameters: ";".join([name, *parameters]), NAMES, st.lists(PARAMETERS, max_size=4))


def figures() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc()
    return registry


@given(st.one_of(st.text(max_size=60), st.lists(ELEMENTS, max_size=4).map(",".join)))
@example("text/plain;version=abc")
@example("application/openmetrics-text;version=")
def test_metrics_are_in_a_format_that_the_reply_names_for_any_accept(accept: str) -> None:
    content, media_type = exposition(figures(), accept)
    read = openmetrics_of if media_type.startswith("application/openmetrics-text") else families_of
    assert next(iter(read(content.decode()))).name.startswith("things")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;version=1.0.0;escaping=values", "text/plain; version=1.0.0; charset=utf-8; escaping=values"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
def test_prometheus_gets_the_format_that_it_prefers(accept: str, media_type: str) -> None:
    assert exposition(figures(), accept)[1].startswith(media_type)
