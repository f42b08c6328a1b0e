"""From settings to the options of adapters: the one place that knows both."""

from __future__ import annotations

from hub.brokers import BrokerOptions, QueueType
from hub.settings.links import BrokerSettings
from hub.settings.process import MetricSettings
from hub.stores import StoreOptions


def broker_options(settings: BrokerSettings) -> BrokerOptions:
    return BrokerOptions(
        queue_type=QueueType(settings.queue_type),
        delivery_limit=settings.queue_delivery_limit,
        max_length=settings.queue_max_length,
        heartbeat=settings.heartbeat,
    )


def store_options(settings: MetricSettings) -> StoreOptions:
    return StoreOptions(buckets=settings.buckets)
