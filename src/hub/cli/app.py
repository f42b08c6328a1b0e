"""The commands: each loads its settings, sets up logging, and runs one component as the whole process."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal

import structlog
from anyio import create_task_group
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from hub.cli.dead import dead
from hub.cli.load import load_model
from hub.cli.options import broker_options, store_options
from hub.cli.schema import schema
from hub.cli.sources import COMPONENTS, check_names, describe, layers
from hub.errors import HubError
from hub.lifecycle import STOP_LIMIT, kept_open, leave, run_process
from hub.logs import configure_logging
from hub.settings import GatewaySettings, ModelSettings, ProcessSettings, RegistrySettings, UpSettings, require_shared

START_PATIENCE: Final = 60.0
"""Seconds that a registry or a gateway tries for its store when it starts; then exit code 3."""

_EPILOGUE = (
    "Each option can also be given in the environment (--ping-period as HUB_PING_PERIOD) or in hub.toml (as ping_period), "
    "or the file that HUB_CONFIG names. The command line wins over the environment, the environment over the file."
)

app = App(
    name="hub",
    help="A hub of models: queueing, results, a registry and one live API page for every model that is up.",
    help_epilogue=_EPILOGUE,
    version=version("hub"),
)
config = App(name="config", help="Look at the settings.")
app.command(config)
app.command(dead)
app.command(schema)

_log = structlog.get_logger("hub.cli")

ModelTargets = Annotated[str, Parameter(env_var=(), help="Models to run, each as pkg.module:Class.")]
Component = Annotated[
    Literal["up", "registry", "gateway", "model", "dead", "schema"], Parameter(env_var=(), help="Whose settings.")
]
ModelTarget = Annotated[str, Parameter(env_var=(), help="The model to run, as pkg.module:Class.")]


@app.command
def up(*models: ModelTargets, settings: UpSettings | None = None) -> int:
    """Run registry, gateway, dashboard and models in this one process.

    With the default memory:// URLs there is no server to install, and everything is forgotten at exit.
    """
    from hub.cli.summary import print_summary  # noqa: PLC0415 - each command loads only what it runs
    from hub.cli.up import run_up  # noqa: PLC0415

    settings = settings or UpSettings()
    classes = [load_model(target) for target in models]

    async def main() -> None:
        async with create_task_group() as tg:
            print_summary(await tg.start(partial(run_up, classes, settings), name="hub.up"), classes)

    return _run(main, settings)


@app.command
def registry(*, settings: RegistrySettings | None = None) -> int:
    """Run the registry: it keeps the instances, pings them, and lists what is alive."""
    from hub.brokers import open_broker  # noqa: PLC0415
    from hub.directories import open_directory  # noqa: PLC0415
    from hub.registry.service import run_registry  # noqa: PLC0415

    settings = settings or RegistrySettings()
    require_shared(settings)

    async def main() -> None:
        async with (
            kept_open(lambda: open_broker(settings.broker_url, broker_options(settings)), name="broker") as broker,
            kept_open(
                lambda: open_directory(settings.directory_url), name="directory", patience=START_PATIENCE
            ) as directory,
        ):
            await _serving("registry", partial(run_registry, settings, directory=directory, broker=broker))

    return _run(main, settings)


@app.command
def gateway(*, settings: GatewaySettings | None = None) -> int:
    """Run the gateway: HTTP in front of every live model."""
    from hub.brokers import open_broker  # noqa: PLC0415
    from hub.gateway.service import run_gateway  # noqa: PLC0415
    from hub.stores import open_store  # noqa: PLC0415

    settings = settings or GatewaySettings()
    require_shared(settings)

    async def main() -> None:
        async with (
            kept_open(lambda: open_broker(settings.broker_url, broker_options(settings)), name="broker") as broker,
            kept_open(
                lambda: open_store(settings.store_url, store_options(settings)), name="store", patience=START_PATIENCE
            ) as store,
        ):
            await _serving("gateway", partial(run_gateway, settings, broker=broker, store=store))

    return _run(main, settings)


@app.command
def model(target: ModelTarget, /, *, settings: ModelSettings | None = None) -> int:
    """Run one instance of a model: it takes tasks from the model's queue and stores their outcomes."""
    from hub.brokers import open_broker  # noqa: PLC0415
    from hub.model.instance import run_instance  # noqa: PLC0415
    from hub.stores import open_store  # noqa: PLC0415

    settings = settings or ModelSettings()
    require_shared(settings)
    model_class = load_model(target)

    async def main() -> None:
        async with (
            kept_open(lambda: open_broker(settings.broker_url, broker_options(settings)), name="broker") as broker,
            kept_open(
                lambda: open_store(settings.store_url, store_options(settings)),
                name="store",
                patience=settings.start_patience,
            ) as store,
        ):
            instance = partial(run_instance, model_class, settings, broker=broker, store=store)
            await _serving(f"instance of {model_class.name}", instance)

    return _run(main, settings)


@config.command
def show(component: Component = "up", /, *, settings: UpSettings | None = None) -> None:
    """Print every setting of a component, and where its value comes from. Secrets are hidden."""
    table = Table("setting", "value", "from")
    for line in describe(COMPONENTS[component], settings or UpSettings(), sys.argv[1:]):
        table.add_row(line.name, line.value, line.source)
    Console().print(table)


async def _serving(what: str, component: Callable[..., Coroutine[Any, Any, None]]) -> None:
    async with create_task_group() as tg:
        url: Any = await tg.start(component, name=f"hub.component {what}")
        _log.info(f"{what} is up", url=url)


def _run(main: Callable[[], Awaitable[None]], settings: ProcessSettings) -> int:
    configure_logging(settings.log_level, settings.log_format)
    drain_grace = settings.drain_grace if isinstance(settings, ModelSettings) else 0.0
    return leave(run_process(main, backend=settings.backend, stop_limit=drain_grace + STOP_LIMIT))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `hub ...` and exits: 0 fine, 1 failed, 2 bad arguments or settings, 3 a server is out of reach."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        check_names()
        app.config = tuple(layers())
        code = app(tokens, result_action="return_value", exit_on_error=True)
    except HubError as error:
        Console(stderr=True).print(f"hub: {error}", markup=False, highlight=False)
        sys.exit(error.exit_code)
    sys.exit(code or 0)
