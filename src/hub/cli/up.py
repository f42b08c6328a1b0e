"""`hub up`: registry, gateway, dashboard and models in one process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anyio import TASK_STATUS_IGNORED, create_task_group, current_time, sleep_forever
from anyio.abc import TaskStatus

from hub.brokers import open_broker
from hub.cli.options import broker_options, store_options
from hub.concurrency.services import background_service, hold_open
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.model import Model
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.ports.directory import Directory
from hub.ports.result_store import ResultStore
from hub.registry.service import run_registry
from hub.settings.up import UpSettings
from hub.stores import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSummary:
    """What is up. `seconds` is the time from the start of the task to the last model's login."""

    registry_url: str
    gateway_url: str
    dashboard_url: str
    models: Sequence[str]
    embedded: bool
    seconds: float


async def run_up(
    models: Sequence[type[Model[Any, Any]]],
    settings: UpSettings,
    *,
    task_status: TaskStatus[UpSummary] = TASK_STATUS_IGNORED,
) -> None:
    """Runs everything until it is cancelled; then the models drain and log out, and the rest follows.

    Args:
        models: One instance of each is started.
        settings: Of all components together. `memory://` URLs are shared by the components of this process.
        task_status: Gets the summary when every model is listed.

    Raises:
        HubError: A component could not start.
        ExceptionGroup: A component died.
    """
    began = current_time()
    async with AsyncExitStack() as stack:
        # Entered in the order of need, so left in the reverse: no model loses its broker, or the registry that it
        # wants to log out of. `background_service` keeps a cancellation from outside away from all but the innermost.
        broker: Broker = await stack.enter_async_context(
            hold_open(lambda: open_broker(settings.broker_url, broker_options(settings)), name="broker")
        )
        store: ResultStore = await stack.enter_async_context(
            hold_open(
                lambda: open_store(settings.store_url, store_options(settings)),
                name="store",
                retry_for=settings.start_timeout,
            )
        )
        directory: Directory = await stack.enter_async_context(
            hold_open(
                lambda: open_directory(settings.directory_url), name="directory", retry_for=settings.start_timeout
            )
        )

        registry = partial(run_registry, settings, directory=directory, broker=broker)
        registry_url: str = await stack.enter_async_context(background_service(registry, name="registry"))
        settings = replace(settings, registry_url=registry_url)

        dashboard = settings.dashboard_bind
        gateway = partial(run_gateway, settings, broker=broker, store=store, dashboard=dashboard)
        gateway_url: str = await stack.enter_async_context(background_service(gateway, name="gateway"))
        dashboard_url = gateway_url if dashboard is None else f"{dashboard.scheme}://{dashboard.host}:{dashboard.port}"

        instances = partial(_run_instances, models, settings, broker=broker, store=store)
        await stack.enter_async_context(background_service(instances, name="instances"))

        task_status.started(
            UpSummary(
                registry_url=registry_url,
                gateway_url=gateway_url,
                dashboard_url=dashboard_url,
                models=[model.name for model in models],
                embedded=settings.broker_url.startswith("memory://"),
                seconds=current_time() - began,
            )
        )
        await sleep_forever()


async def _run_instances(
    models: Sequence[type[Model[Any, Any]]],
    settings: UpSettings,
    *,
    broker: Broker,
    store: ResultStore,
    task_status: TaskStatus[None],
) -> None:
    """Starts one after the other; they stop together, so that the whole takes no longer than the slowest one."""
    async with create_task_group() as tg:
        for model in models:
            instance = partial(run_instance, model, settings, broker=broker, store=store)
            await tg.start(instance, name=f"hub.instance of {model.name}")
        task_status.started()
