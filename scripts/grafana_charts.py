"""The charts of Grafana beside those of the built-in dashboard, and functions that write PromQL."""

from __future__ import annotations

import re
from typing import Final

from hub.web.charts import Chart, Query, Unit

_SELECTOR: Final = re.compile(r"\b(up|hub_(?!instance\b)[a-z_]+)(\{[^}]*\})?")
"""A metric and its matchers; `hub_instance` is a label."""

_NO_MODEL: Final = re.compile(
    r"hub_models\b|hub_registry_(?!resubscribes)|hub_gateway_|hub_broker_|hub_store_|hub_submit_group_"
)
"""Metrics without the label `model`."""


def for_grafana(promql: str) -> str:
    """A query that depends on the selected models, the zoom and the scrape interval."""

    def chosen(match: re.Match[str]) -> str:
        if _NO_MODEL.match(match[1]):
            return match[0]
        given = (match[2] or "{}")[1:-1]
        return match[1] + "{" + (f"{given}, " if given else "") + 'model=~"$model"}'

    return _SELECTOR.sub(chosen, promql).replace("[1m]", "[$__rate_interval]")


def _chart(name: str, title: str, text: str, unit: Unit, *queries: tuple[str, str]) -> Chart:
    lines = tuple(Query(promql=promql, legend=legend) for promql, legend in queries)
    return Chart(id=name, title=title, help=text, unit=unit, queries=lines)


def _quantile(metric: str, *labels: str) -> str:
    by = ", ".join((*labels, "le"))
    return f"histogram_quantile(0.95, sum by ({by}) (rate({metric}_bucket[1m])))"


def _average(metric: str, label: str) -> str:
    return f"sum by ({label}) (rate({metric}_sum[1m])) / sum by ({label}) (rate({metric}_count[1m]))"


FIGURES: Final = (
    _chart("active", "Active models", "Models, not instances.", "count", ("max(hub_models)", "")),
    _chart("live", "Live instances", "Of the chosen models.", "count",
           ('sum(max by (model) (hub_model_instances{state="live"}))', "")),
    _chart("waiting", "Tasks waiting", "In the queues.", "count",
           ('sum(max by (model) (hub_queue_messages{state="ready"}))', "")),
    _chart("running", "Tasks running", "In the hands of instances.", "count", ("sum(hub_instance_in_flight)", "")),
    _chart("rate", "Finished tasks", "Outcomes of every kind.", "per second", ("sum(rate(hub_tasks_total[1m]))", "")),
    _chart("given-up", "Dead letters", "See `hub dead list`.", "count", ("sum(max by (model) (hub_dead_letters))", "")),
)  # fmt: skip
"""Single numbers at the top."""

REGISTRY: Final = (
    _chart("states", "Instances by state", "not_consuming: answers pings and takes no tasks; suspect: "
           "missed its last ping; loading: its setup is running.", "count",
           ("sum by (state) (max by (model, state) (hub_model_instances))", "{{state}}")),
    _chart("ping", "Ping time (95th percentile)", "By registry.", "seconds",
           (_quantile("hub_registry_ping_duration_seconds", "instance"), "{{instance}}")),
    _chart("ping-failures", "Failed pings", "By reason.", "per second",
           ("sum by (reason) (rate(hub_registry_ping_failures_total[1m]))", "{{reason}}")),
    _chart("removals", "Instances removed", "By reason; logout is the orderly one.", "per second",
           ("sum by (reason) (rate(hub_registry_removals_total[1m]))", "{{reason}}")),
    _chart("resubscribes", "Requests to subscribe again", "By model.", "per second",
           ("sum by (model) (rate(hub_registry_resubscribes_total[1m]))", "{{model}}")),
    _chart("leases", "Instances pinged, by registry", "Each instance is pinged by one registry.", "count",
           ("sum by (instance) (hub_registry_leases)", "{{instance}}")),
    _chart("connected", "Connections and self-preservation", "1 while the server answers; self-preservation is 1 "
           "while missed pings are not counted, because most instances stopped answering at once.", "count",
           ("min by (server) (hub_registry_connected)", "{{server}}"), ("max(hub_registry_self_preservation)", "self-preservation")),
)  # fmt: skip

GATEWAY: Final = (
    _chart("submits", "Submits, by result", "Accepted, replayed (same idempotency key), or the code of the refusal.",
           "per second", ("sum by (result) (rate(hub_submits_total[1m]))", "{{result}}")),
    _chart("submit-time", "Time to accept a task (95th percentile)", "From the request to the confirmed task.",
           "seconds", (_quantile("hub_submit_seconds", "model"), "{{model}}")),
    _chart("call-time", "Time to the outcome (95th percentile)", "Where a client waited for it, queue time included.",
           "seconds", (_quantile("hub_call_seconds", "model"), "{{model}}")),
    _chart("group-size", "Tasks accepted together", "Average size of a group: one trip to the store and one to the "
           "broker. It rises with the load.", "count",
           (_average("hub_submit_group_size", "instance"), "{{instance}}")),
)  # fmt: skip

BATCHES: Final = (
    _chart("process-batch-size", "Tasks in one call of process_batch", "Average, of models with batches. Compare it with "
           "max_batch_size.", "count", (_average("hub_batch_size", "model"), "{{model}}")),
    _chart("process-batch-wait", "Wait for a batch (95th percentile)", "From the start of a run to the call of "
           "process_batch; above max_batch_wait if all calls are busy.", "seconds",
           (_quantile("hub_batch_wait_seconds", "model"), "{{model}}")),
)  # fmt: skip

LINKS: Final = (
    _chart("store-time", "Store calls (95th percentile)", "By operation, of gateways and instances.", "seconds",
           (_quantile("hub_store_call_seconds", "operation"), "{{operation}}")),
    _chart("batch-size", "Store batch size", "Average of what goes in one round trip, by operation.", "count",
           (_average("hub_store_batch_size", "operation"), "{{operation}}")),
    _chart("reconnects", "Reconnects", "Of gateways and instances.", "per second",
           ("sum(rate(hub_broker_reconnects_total[1m]))", "broker"),
           ("sum(rate(hub_store_reconnects_total[1m]))", "store")),
    _chart("cut-off", "Processes without a link", "Gateways and instances that do not reach a server now.", "count",
           ("count(hub_broker_connected) - sum(hub_broker_connected)", "broker"),
           ("count(hub_store_connected) - sum(hub_store_connected)", "store")),
    _chart("nodes", "Connections, by node of the broker", "Of gateways and instances.", "count",
           ("sum by (node) (hub_broker_connections)", "{{node}}")),
    _chart("blocked", "Broker takes no messages", "1 while a memory or disk alarm of the broker holds up publishers.",
           "count", ("max(hub_broker_blocked)", "blocked")),
    _chart("stalls", "Event loops held up", "Times that code kept a loop busy for longer than a second; the log names it.",
           "per second", ("sum by (job) (rate(hub_loop_stalls_total[1m]))", "{{job}}")),
)  # fmt: skip

_WHO: Final = "hub_instance, instance, model"

TABLE: Final = _chart(
    "table",
    "Instances",
    "Every instance that Prometheus scrapes; a dead one vanishes.",
    "count",
    (f'sum by ({_WHO}) (up{{hub_instance!=""}})', "scraped"),
    (f"sum by ({_WHO}) (hub_instance_consuming)", "takes tasks"),
    (f"sum by ({_WHO}) (hub_instance_in_flight)", "in flight"),
    (f'sum by ({_WHO}) (rate(hub_tasks_total{{hub_instance!=""}}[1m]))', "finished/s"),
    (f'sum by ({_WHO}) (rate(hub_tasks_total{{hub_instance!="", outcome=~"failed|expired|dead"}}[1m]))', "failed/s"),
)

ALERTS: Final = _chart(
    "alerts",
    "Firing alerts",
    "docs/monitoring.md says what each one means and what to do.",
    "count",
    ('ALERTS{alertname=~"Hub.+", alertstate="firing"}', ""),
)
