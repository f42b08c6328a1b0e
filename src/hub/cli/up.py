"""`hub up`: registry, gateway, dashboard and models in one process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from anyio import TASK_STATUS_IGNORED, create_task_group, current_time, sleep_forever
from anyio.abc import TaskStatus
from rich.console import Console

from hub.cli.load import ModelSummary, summary_of
from hub.cli.resources import hold_broker, hold_directory, hold_store
from hub.concurrency.services import background_service
from hub.gateway.service import run_gateway
from hub.model.instance.instance import run_instance
from hub.model.model import AnyModel
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.service import run_registry
from hub.settings.up import UpSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSummary:
    """The addresses of a running hub. `seconds` is the time from the start to the last model's login."""

    registry_url: str
    gateway_url: str
    dashboard_url: str
    models: Sequence[ModelSummary]
    embedded: bool
    seconds: float


class ModelsService(Protocol):
    """Runs models until it is cancelled; started when all of them are up."""

    async def __call__(
        self,
        settings: UpSettings,
        *,
        broker: Broker,
        store: ResultStore,
        task_status: TaskStatus[Sequence[ModelSummary]],
    ) -> None: ...


async def run_up(
    models: Sequence[type[AnyModel]] | ModelsService,
    settings: UpSettings,
    *,
    task_status: TaskStatus[UpSummary] = TASK_STATUS_IGNORED,
) -> None:
    """Runs all components until it is cancelled; then the models drain and log out before the others stop.

    Args:
        models: One instance of each is started; or what runs them in another way.
        settings: Those of all components. `memory://` URLs are shared by the components of this process.
        task_status: Started with the summary when every model is listed.

    Raises:
        HubError: A component could not start.
        ExceptionGroup: A component died.
    """
    began = current_time()
    async with AsyncExitStack() as stack:
        # Left in the reverse order: models log out while broker and registry still run. `background_service` shields all
        # but the innermost from a cancellation from outside.
        broker = await stack.enter_async_context(hold_broker(settings))
        store = await stack.enter_async_context(hold_store(settings))
        directory = await stack.enter_async_context(hold_directory(settings))

        registry = partial(run_registry, settings, directory=directory, broker=broker)
        registry_url = await stack.enter_async_context(background_service(registry, name="registry"))
        settings = replace(settings, registry_url=registry_url)

        dashboard = settings.dashboard_bind
        gateway = partial(run_gateway, settings, broker=broker, store=store, dashboard=dashboard)
        gateway_url = await stack.enter_async_context(background_service(gateway, name="gateway"))
        dashboard_url = gateway_url if dashboard is None else f"{dashboard.scheme}://{dashboard.host}:{dashboard.port}"

        run_models: ModelsService = partial(_run_instances, models) if isinstance(models, Sequence) else models

        async def instances(*, task_status: TaskStatus[Sequence[ModelSummary]]) -> None:
            await run_models(settings, broker=broker, store=store, task_status=task_status)

        summaries = await stack.enter_async_context(background_service(instances, name="instances"))

        task_status.started(
            UpSummary(
                registry_url=registry_url,
                gateway_url=gateway_url,
                dashboard_url=dashboard_url,
                models=summaries,
                embedded=settings.broker_url.startswith("memory://"),
                seconds=current_time() - began,
            )
        )
        await sleep_forever()


async def _run_instances(
    models: Sequence[type[AnyModel]],
    settings: UpSettings,
    *,
    broker: Broker,
    store: ResultStore,
    task_status: TaskStatus[Sequence[ModelSummary]],
) -> None:
    """Starts the instances one after the other. They stop concurrently."""
    async with create_task_group() as tg:
        for model in models:
            instance = partial(run_instance, model, settings, broker=broker, store=store)
            await tg.start(instance, name=f"hub.instance of {model.name}")
        task_status.started([summary_of(model) for model in models])
        await sleep_forever()  # also without a model: the service ends by cancellation only


def print_summary(summary: UpSummary) -> None:
    """Prints the addresses, and a command for each model. Lines are not wrapped, so that they can be copied."""
    names = ", ".join(model.name for model in summary.models)
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"\n[bold]hub is up[/bold] in {summary.seconds:.1f} s: {names or 'no models'}\n")
    console.print(f"  API page    {summary.gateway_url}/docs")
    console.print(f"  dashboard   {summary.dashboard_url}")
    console.print(f"  gateway     {summary.gateway_url}")
    console.print(f"  registry    {summary.registry_url}/docs")
    for model in summary.models:
        console.print(f"\nTry {model.name}:", style="bold")
        console.print(
            f"  curl -s {summary.gateway_url}/v1/models/{model.name} -H 'content-type: application/json' -d '{model.example}'",
            markup=False,
        )
    if summary.embedded:
        console.print("\nTasks and results live in this process only and are lost when it ends.", style="dim")
    console.print("Ctrl-C stops it: running tasks finish, models log out.\n", style="dim")
