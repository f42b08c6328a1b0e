"""The broker, the result store and the directory of a command: the one module that knows settings and options of adapters.

The `open_*` functions open a resource for a command that ends by itself. The `hold_*` functions open it for a process
that runs until a signal: shielded, so that services can use it while they drain (see `hub.concurrency.services`).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial

from hub import brokers, directories, stores
from hub.concurrency.services import hold_open
from hub.ports.broker import Broker
from hub.ports.directory import Directory
from hub.ports.result_store import ResultStore
from hub.settings.connections import BrokerSettings, DeadSettings
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import MetricSettings
from hub.settings.registry import RegistrySettings


def broker_options(settings: BrokerSettings) -> brokers.BrokerOptions:
    return brokers.BrokerOptions(
        queue_type=brokers.QueueType(settings.queue_type),
        delivery_limit=settings.queue_delivery_limit,
        max_length=settings.queue_max_length,
        heartbeat=settings.heartbeat,
    )


def store_options(settings: MetricSettings) -> stores.StoreOptions:
    return stores.StoreOptions(buckets=settings.buckets)


def open_broker(settings: BrokerSettings) -> AbstractAsyncContextManager[Broker]:
    return brokers.open_broker(settings.broker_url, broker_options(settings))


def open_store(settings: DeadSettings) -> AbstractAsyncContextManager[ResultStore]:
    return stores.open_store(settings.store_url)


def hold_broker(settings: BrokerSettings) -> AbstractAsyncContextManager[Broker]:
    """Raises an ExceptionGroup around `ConnectionLost` when the first attempt fails: adapters retry by themselves."""
    return hold_open(partial(open_broker, settings), name="broker")


def hold_store(settings: GatewaySettings | ModelSettings) -> AbstractAsyncContextManager[ResultStore]:
    """Tries for `start_timeout` seconds, then raises an ExceptionGroup around `ConnectionLost`."""
    return hold_open(
        lambda: stores.open_store(settings.store_url, store_options(settings)),
        name="store",
        retry_for=settings.start_timeout,
    )


def hold_directory(settings: RegistrySettings) -> AbstractAsyncContextManager[Directory]:
    """Tries for `start_timeout` seconds, then raises an ExceptionGroup around `ConnectionLost`."""
    return hold_open(
        lambda: directories.open_directory(settings.directory_url), name="directory", retry_for=settings.start_timeout
    )
