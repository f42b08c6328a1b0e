"""The charts of both dashboards, the built-in one and Grafana's, with the PromQL of each.

One list, so that the two show the same things under the same names, and one test can hold every query against a real
Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Unit = Literal["count", "per second", "seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One set of lines. `legend` is a Grafana legend format; `{{model}}` is the model's name."""

    promql: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        id: The end of its address on the page, and what scripts call it.
        title: What it shows.
        help: One sentence on how to read it.
        unit: Of its values.
        queries: Where Prometheus has the lines. Several registries tell the same, so their figures are not added up.
    """

    id: str
    title: str
    help: str
    unit: Unit
    queries: tuple[Query, ...]


CHARTS: Final = (
    Chart(
        id="queue",
        title="Tasks waiting, by model",
        help="Messages in the queue that no instance has received yet. If a line only rises, start more instances.",
        unit="count",
        queries=(Query(promql='max by (model) (hub_queue_messages{state="ready"})', legend="{{model}}"),),
    ),
    Chart(
        id="models",
        title="Active models",
        help="Models with at least one live instance: models are counted, not their instances.",
        unit="count",
        queries=(Query(promql="max(hub_models)", legend="active models"),),
    ),
    Chart(
        id="names",
        title="Names of the active models",
        help="A bar for each model, as long as it had a live instance.",
        unit="count",
        queries=(Query(promql="max by (model) (hub_model_info)", legend="{{model}}"),),
    ),
    Chart(
        id="instances",
        title="Live instances, by model",
        help="Instances that answer pings and consume tasks.",
        unit="count",
        queries=(Query(promql='max by (model) (hub_model_instances{state="live"})', legend="{{model}}"),),
    ),
    Chart(
        id="throughput",
        title="Finished tasks, by model",
        help="Outcomes of every kind.",
        unit="per second",
        queries=(Query(promql="sum by (model) (rate(hub_tasks_total[1m]))", legend="{{model}}"),),
    ),
    Chart(
        id="latency",
        title="Run time (95th percentile), by model",
        help="From the start of a run to its outcome; without the time in the queue.",
        unit="seconds",
        queries=(
            Query(
                promql="histogram_quantile(0.95, sum by (model, le) (rate(hub_task_run_seconds_bucket[1m])))",
                legend="{{model}}",
            ),
        ),
    ),
    Chart(
        id="wait",
        title="Queue time (95th percentile), by model",
        help="From the creation of a task to the start of its run.",
        unit="seconds",
        queries=(
            Query(
                promql="histogram_quantile(0.95, sum by (model, le) (rate(hub_task_queue_seconds_bucket[1m])))",
                legend="{{model}}",
            ),
        ),
    ),
    Chart(
        id="failures",
        title="Failed tasks, by model",
        help="Outcomes failed, expired and dead. Cancelled tasks are not counted.",
        unit="per second",
        queries=(
            Query(
                promql='sum by (model) (rate(hub_tasks_total{outcome=~"failed|expired|dead"}[1m]))', legend="{{model}}"
            ),
        ),
    ),
    Chart(
        id="dead",
        title="Dead letters, by model",
        help="Tasks that were abandoned, to be inspected with: hub dead list.",
        unit="count",
        queries=(Query(promql="max by (model) (hub_dead_letters)", legend="{{model}}"),),
    ),
    Chart(
        id="oldest",
        title="Age of the oldest waiting task, by model",
        help="An upper bound: the broker has no ages, so they are estimated from the depths.",
        unit="seconds",
        queries=(Query(promql="max by (model) (hub_queue_oldest_message_seconds)", legend="{{model}}"),),
    ),
)
"""Most important first."""
