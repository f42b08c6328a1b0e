"""A real Prometheus finds and scrapes a real hub, and every query of both dashboards has an answer.

hub's processes run on asyncio here, and on trio in test_alerts.py: to Prometheus they are the same, and a system is dear.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from anyio import create_task_group, fail_after, move_on_after, sleep

from hub.web.charts import CHARTS
from tests.observability import grafana
from tests.observability.config import rules
from tests.observability.server import Series
from tests.observability.system import POLL_INTERVAL, MonitoredSystem, opened
from tests.observability.trials import leave_rubbish
from tests.support.redis import emptied

TIMEOUT = 60.0
"""Seconds for each part of a test: generous, since a machine under load starts processes slowly."""

SOON = 30.0
"""Seconds for every series to have samples; one query after the other takes some three."""

MODELS = ("Watched", "WatchedTwice")

WINDOW = "10s"
"""What `$__rate_interval` is at a scrape interval of a second; Grafana takes four times that at least."""

BUSY = 503
"""A machine with better things to do may let an instance miss a ping, so that its model is not alive for a moment."""

Ask = Callable[[str], Awaitable[Sequence[Series]]]


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {}


@pytest.fixture(scope="module")
async def system(
    amqp_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[MonitoredSystem]:
    """Two instances of one model and one of another, which Prometheus has found."""
    folder = tmp_path_factory.mktemp("observability")
    async with opened(folder, "asyncio", amqp_url=amqp_url, redis_url=emptied(redis_url, 13)) as it:
        with fail_after(TIMEOUT):
            async with create_task_group() as tg:
                for model in ("Watched", *MODELS):
                    tg.start_soon(it.instance, model)
            await it.until_offered(*MODELS)
            await it.targets_up(3)
        yield it


@asynccontextmanager
async def traffic(system: MonitoredSystem) -> AsyncGenerator[None]:
    """Calls that succeed and calls that fail, for as long as the block runs, and something that was no task."""

    async def call() -> None:
        while True:
            for model in MODELS:
                assert await system.call(model, "hello") in {200, BUSY}
                assert await system.call(model, "fail") in {502, BUSY}
            await sleep(POLL_INTERVAL)

    async with create_task_group() as tg:
        tg.start_soon(call)
        await leave_rubbish(system, "Watched")
        yield
        tg.cancel_scope.cancel("the test has seen enough")


async def left_without_data(queries: Mapping[str, str], ask: Ask) -> dict[str, str]:
    """Asks until every query has been answered with a number, or for a while; returns those that were not."""
    left = dict(queries)
    with move_on_after(SOON):
        while left:
            for name, promql in list(left.items()):
                if any(not math.isnan(value) for series in await ask(promql) for value in series.values):
                    del left[name]
            await sleep(POLL_INTERVAL)
    return left


async def test_every_query_of_grafana_has_data(system: MonitoredSystem) -> None:
    panels = list(grafana.targets(model=grafana.variable("model")["allValue"], interval=WINDOW))

    async def over_time(promql: str) -> Sequence[Series]:
        now = time.time()
        return await system.prometheus.query_range(promql, start=now - 30, end=now)

    async with traffic(system):
        tables = {f"{each.panel}: {each.promql}": each.promql for each in panels if each.instant}
        lines = {f"{each.panel}: {each.promql}": each.promql for each in panels if not each.instant}
        assert tables
        assert lines
        assert await left_without_data(tables, system.prometheus.query) == {}
        assert await left_without_data(lines, over_time) == {}
        assert await left_without_data(lines, system.prometheus.query) == {}


async def test_every_query_of_the_built_in_dashboard_has_data_as_it_is_shown(system: MonitoredSystem) -> None:
    queries = {f"{chart.id} {query.legend}": query.promql for chart in CHARTS for query in chart.queries}

    async with traffic(system):
        assert await left_without_data(queries, system.prometheus.query) == {}


async def test_grafana_offers_the_models_to_choose_from_and_shows_the_chosen_one_alone(system: MonitoredSystem) -> None:
    selector, label = grafana.label_values(grafana.variable("model")["query"])
    with fail_after(TIMEOUT):
        while set(await system.prometheus.label_values(selector, label)) != set(MODELS):
            await sleep(POLL_INTERVAL)
    async with traffic(system):
        for each in grafana.targets(model="WatchedTwice", interval=WINDOW):
            named = {series.labels.get("model") for series in await system.prometheus.query(each.promql)}
            if each.panel != "Firing alerts":
                assert named <= {None, "WatchedTwice"}, each


async def test_every_alert_is_evaluated_without_an_error_and_none_is_false(system: MonitoredSystem) -> None:
    """The committed rules, over series as hub makes them. test_alerts.py has each of them fire."""
    with fail_after(TIMEOUT):
        await system.targets_up(3)
        while "unknown" in (health := await system.prometheus.rule_health()).values():
            await sleep(POLL_INTERVAL)
    assert health == {rule["alert"]: "ok" for rule in rules()}
    firing = {alert["labels"]["alertname"] for alert in await system.prometheus.alerts() if alert["state"] == "firing"}
    # What `traffic` leaves behind, and what may happen on a busy machine.
    assert firing <= {"HubDeadLetters", "HubRegistrySelfPreservation"}


async def test_a_killed_instance_is_removed_from_the_targets_and_its_series_end(system: MonitoredSystem) -> None:
    with fail_after(TIMEOUT):
        victim = await system.instance("Watched")
        await system.targets_up(4)
        (target,) = [
            target["labels"]
            for target in (await system.prometheus.targets())["hub-instances"]
            if victim.url == f"http://{target['labels']['instance']}"
        ]
        its = f'{{hub_instance="{target["hub_instance"]}"}}'
        while not await system.prometheus.query(f"hub_instance_consuming{its}"):
            await sleep(POLL_INTERVAL)

        victim.kill()

        await system.targets_up(3)
        while await system.prometheus.query(its):
            await sleep(POLL_INTERVAL)
        assert await system.prometheus.query_range(f"up{its}", start=time.time() - 60, end=time.time())
    assert target["model"] == "Watched"
