"""A real Prometheus finds and scrapes a real hub, and every query of both dashboards has an answer.

hub's processes run on asyncio here, and on trio in test_alerts.py: to Prometheus they are the same, and a stage is dear.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from anyio import fail_after, sleep

from hub.web.charts import CHARTS
from tests.observability import grafana
from tests.observability.config import rules
from tests.observability.stage import LOOK, Stage, opened

PATIENCE = 90.0
"""Seconds for a whole test: generous, since a machine under load starts processes slowly."""

MODELS = ("Watched", "WatchedTwice")

WINDOW = "10s"
"""What `$__rate_interval` is at a scrape interval of a second; Grafana takes four times that at least."""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {}


@pytest.fixture(scope="module")
async def stage(
    amqp_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory, anyio_backend: object
) -> AsyncGenerator[Stage]:
    """Two instances of one model, one of another, and traffic that leaves a trace in every metric."""
    folder = tmp_path_factory.mktemp("observability")
    with fail_after(PATIENCE):
        async with opened(folder, "asyncio", amqp_url=amqp_url, redis_url=f"{redis_url.rstrip('/')}/13") as it:
            for model in ("Watched", *MODELS):
                await it.instance(model)
            await it.until_offered(*MODELS)
            await it.targets_up(3)
            yield it


async def traffic(stage: Stage) -> None:
    """What works, what fails, what is refused, what waits, what dies; an instance that is deaf, and one that is gone."""
    for model in MODELS:
        assert await stage.call(model, "hello") == 200
        assert await stage.call(model, "fail") == 502


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    while not await condition():
        await sleep(LOOK)


async def unanswered(stage: Stage, queries: dict[str, str], *, instant: bool) -> dict[str, str]:
    """Those without data, by name."""
    now = time.time()
    left = {}
    for name, promql in queries.items():
        found = (
            await stage.prometheus.query(promql)
            if instant
            else await stage.prometheus.query_range(promql, start=now - 10, end=now)
        )
        if not found or all(value != value for series in found for value in series.values):  # noqa: PLR0124 - NaN
            left[name] = promql
    return left


async def test_x(stage: Stage) -> None:
    await traffic(stage)
    await sleep(3)
    queries = {f"{t.panel}: {t.promql}": t.promql for t in grafana.targets(model=".*", interval=WINDOW)}
    print(await unanswered(stage, queries, instant=True))
    print(await unanswered(stage, {c.id + q.legend: q.promql for c in CHARTS for q in c.queries}, instant=False))
    print(await stage.prometheus.broken_rules(), await stage.prometheus.alerts())
    print(len(rules()))
