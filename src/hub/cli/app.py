"""The command line: each command loads its settings, sets up logging, and runs one component as the whole process."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import structlog
from anyio import create_task_group, sleep_forever
from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hub.cli.client.app import COMMANDS
from hub.cli.command import EXIT_CODES, explain, fail, raise_open_files, redactor
from hub.cli.completion import completion_command
from hub.cli.config import (
    COMPONENTS,
    AllSettings,
    check_names,
    config_path,
    describe,
    exposed_secrets,
    layers,
    models_of_layers,
    sources_of_settings,
    unused_variables,
)
from hub.cli.dead.app import dead
from hub.cli.doctor.app import doctor
from hub.cli.generate.app import client
from hub.cli.load import load_model
from hub.cli.parameters import Json
from hub.cli.proto.app import proto
from hub.cli.resources import hold_broker, hold_directory, hold_store
from hub.cli.schema.app import schema
from hub.cli.usage import usage_error
from hub.cli.watch.app import instances, models, top
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.process import STOP_LIMIT, leave, run_process
from hub.concurrency.services import Service, background_service
from hub.errors import ConfigurationError, HubError
from hub.observability.logs import configure_logging
from hub.observability.redaction import redacted, redacted_url
from hub.settings.connections import require_shared
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import ProcessSettings
from hub.settings.registry import RegistrySettings
from hub.settings.up import UpSettings
from hub_serving import DISTRIBUTION

if TYPE_CHECKING:
    from hub.cli.up import ModelsService

EXPOSED = "has secrets and is readable for every user of this machine: chmod o-r, or use separate files (HUB_..._FILE)"

_EPILOGUE = (
    "Each option can also be given in the environment (--ping-period as HUB_PING_PERIOD) or in hub.toml (as ping_period), "
    "or the file that HUB_CONFIG names. The command line wins over the environment, the environment over the file. "
    f"Exit codes: {EXIT_CODES}."
)

app = App(
    name="hub",
    help="A hub of models: queueing, results, a registry and one live API page for every model that is up.",
    help_epilogue=_EPILOGUE,
    version=lambda: version(DISTRIBUTION),
)
config = App(name="config", help="Show the settings.")
app.command(config)
for command in COMMANDS:
    app.command(command)
app.command(client)
app.command(dead)
app.command(doctor)
app.command(instances)
app.command(models)
app.command(top)
app.command(completion_command(app), name="--install-completion")
app.command(proto)
app.command(schema)

_log = structlog.get_logger("hub.cli")

ModelTargets = Annotated[
    str,
    Parameter(env_var=(), help="Models to run, each as pkg.module:Class; by default those of HUB_MODELS or hub.toml."),
]
Component = Annotated[
    Literal["up", "registry", "gateway", "model", "dead", "schema", "top", "doctor"],
    Parameter(env_var=(), help="Settings of this command."),
]
ProjectName = Annotated[
    str, Parameter(env_var=(), help="Name of the project: lower-case letters, digits, '_' or '-', such as sentiment.")
]
StreamWanted = Annotated[bool, Parameter(env_var=(), negative=(), help="The model yields its response piece by piece.")]
BatchWanted = Annotated[
    bool, Parameter(env_var=(), negative=(), help="The model gets the requests of many tasks at once.")
]
ProjectPath = Annotated[
    Path | None, Parameter(env_var=(), help="The folder of the project, empty or new; by default NAME, here.")
]
ModelTarget = Annotated[str, Parameter(env_var=(), help="The model to run, as pkg.module:Class.")]

Instances = Annotated[
    int,
    Parameter(
        env_var=(),
        help="Processes, each with one instance. None is restarted: if one ends with an error, all end, with its exit code.",
    ),
]

Reload = Annotated[
    bool,
    Parameter(
        env_var=(),
        negative="",
        help="Run the models in a process of their own, and start it anew when a .py or .proto file of theirs changes. Tasks "
        "stay. For development; needs the packages of hub-serving[reload].",
    ),
]

AnyGateway = TypeVar("AnyGateway", bound=GatewaySettings)


@app.command
def up(*models: ModelTargets, reload: Reload = False, settings: UpSettings | None = None) -> int:
    """Run registry, gateway, dashboard and models in this one process.

    With the default memory:// URLs no server needs to be installed, and all data is lost at exit.
    """
    from hub.cli.up import print_summary, run_up  # noqa: PLC0415 - each command loads only what it runs

    settings = _with_free_dashboard(settings or UpSettings())
    targets = models or models_of_layers()
    run_models = _reloaded(targets) if reload else [load_model(target) for target in targets]

    async def main() -> None:
        async with create_task_group() as tg:
            print_summary(await tg.start(partial(run_up, run_models, settings), name="hub.up"))

    return _run(main, settings)


@app.command
def registry(*, settings: RegistrySettings | None = None) -> int:
    """Run the registry: it stores the instances, pings them, and lists the live models."""
    from hub.registry.service import run_registry  # noqa: PLC0415

    settings = settings or RegistrySettings()
    require_shared(settings)
    raise_open_files()

    async def main() -> None:
        async with hold_broker(settings) as broker, hold_directory(settings) as directory:
            await _run_component("registry", partial(run_registry, settings, directory=directory, broker=broker))

    return _run(main, settings)


@app.command
def gateway(*, settings: GatewaySettings | None = None) -> int:
    """Run the gateway: the HTTP API of every live model."""
    from hub.gateway.service import run_gateway  # noqa: PLC0415

    settings = settings or GatewaySettings()
    require_shared(settings)
    settings = _with_free_dashboard(settings)

    async def main() -> None:
        async with hold_broker(settings) as broker, hold_store(settings) as store:
            component = partial(
                run_gateway,
                settings,
                broker=broker,
                store=store,
                dashboard=settings.dashboard_bind,
                dashboard_is_optional="dashboard_port" not in sources_of_settings(sys.argv[1:]),
            )
            await _run_component("gateway", component)

    return _run(main, settings)


@app.command
def model(target: ModelTarget, /, *, instances: Instances = 1, settings: ModelSettings | None = None) -> int:
    """Run one instance of a model: it receives tasks from the model's queue and stores their outcomes."""
    settings = settings or ModelSettings()
    require_shared(settings)
    if instances != 1:
        return _run_instances(target, instances, settings)
    from hub.model.instance.instance import run_instance  # noqa: PLC0415

    model_class = load_model(target)

    async def main() -> None:
        async with hold_broker(settings) as broker, hold_store(settings) as store:
            instance = partial(run_instance, model_class, settings, broker=broker, store=store)
            await _run_component(f"instance of {model_class.name}", instance)

    return _run(main, settings)


@app.command
def new(
    name: ProjectName, /, *, stream: StreamWanted = False, batch: BatchWanted = False, path: ProjectPath = None
) -> int:
    """Make a working project for a model of your own: .proto, model, test, settings, Dockerfile, CI."""
    from hub.cli.new.project import create  # noqa: PLC0415

    if stream and batch:
        return fail("a model either streams or takes batches: use --stream or --batch", 2)
    return create(name, "stream" if stream else "batch" if batch else "unary", path)


@config.command
def show(component: Component = "up", /, *, json_wanted: Json = False, settings: AllSettings | None = None) -> None:
    """Print every setting of a component with the source of its value. Secrets are hidden."""
    lines = describe(COMPONENTS[component], settings or AllSettings(), sys.argv[1:])
    if exposed := exposed_secrets():
        Console(stderr=True).print(escape(f"{config_path()} {EXPOSED} ({', '.join(exposed)})"), highlight=False)
    if json_wanted:
        found = [{"setting": line.name, "value": line.value, "from": line.source} for line in lines]
        Console().out(json.dumps({"component": component, "settings": found}, indent=2), highlight=False)
        return
    table = Table("setting", "value", "from")
    for line in lines:
        table.add_row(line.name, escape(line.value), escape(line.source))
    Console().print(table)


def _with_free_dashboard(settings: AnyGateway) -> AnyGateway:
    """Removes the dashboard's port if it is the default and taken: the dashboard is at / of the gateway too."""
    bind = settings.dashboard_bind
    if bind is None or "dashboard_port" in sources_of_settings(sys.argv[1:]) or bind.is_free():
        return settings
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    _log.warning(
        "the default port of the dashboard is taken, so it is served at / of the gateway only; set HUB_DASHBOARD_PORT to "
        "another port, or to 0 for none",
        port=bind.port,
    )
    return replace(settings, dashboard_port=0)


def _reloaded(targets: Sequence[str]) -> ModelsService:
    if not targets:
        raise ConfigurationError("--reload needs a model: hub up pkg.module:Class --reload")
    if find_spec("watchfiles") is None:
        raise ConfigurationError("watchfiles is not installed: install hub with its extra, hub-serving[reload]")
    from hub.cli.reload.models import run_reloaded  # noqa: PLC0415

    return partial(run_reloaded, targets)


def _run_instances(target: str, count: int, settings: ModelSettings) -> int:
    """Runs this command line without `--instances` in several processes."""
    if count < 1:
        raise ConfigurationError(f"--instances is {count}; a model needs at least 1")
    if settings.instance_port:
        raise ConfigurationError(
            f"instance_port is {settings.instance_port}, and only one of {count} processes can listen there: leave it out, "
            "and each takes a free port"
        )
    from hub.cli.children import MARGIN, run_instances  # noqa: PLC0415
    from hub.model.execution.process.spawn import KILL_TIMEOUT  # noqa: PLC0415

    code = 0

    async def main() -> None:
        nonlocal code
        code = await run_instances(["model", target, *_options(sys.argv[1:], target)], count, settings)

    return _run(main, settings, margin=MARGIN + KILL_TIMEOUT) or code


def _options(arguments: Sequence[str], target: str) -> Sequence[str]:
    """The options of `hub model` on a command line, without `--instances`."""
    rest = iter(arguments)
    kept: list[str] = []
    for argument in rest:
        if argument == "--instances":
            next(rest, None)
        elif not argument.startswith("--instances=") and argument != target:
            kept.append(argument)
    return kept[1:] if kept[:1] == ["model"] else kept


async def _run_component(what: str, component: Service[str]) -> None:
    async with background_service(component, name=what) as url:
        _log.info(f"{what} is up", url=url)
        await sleep_forever()


def _run(main: Callable[[], Awaitable[None]], settings: ProcessSettings, *, margin: float = 0.0) -> int:
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    exposed = exposed_secrets()
    if exposed:
        _log.warning(
            f"the configuration file {EXPOSED}",
            file=str(config_path()),
            settings=", ".join(exposed),
        )
    unused = unused_variables(type(settings))
    if unused:
        _log.info("these variables have no effect: they are settings of other commands", variables=", ".join(unused))

    async def main_with_notes() -> None:
        try:
            with collapse_exception_group():
                await main()
        except HubError as error:
            explain(error, settings)
            raise

    drain_grace = settings.drain_grace if isinstance(settings, ModelSettings) else 0.0
    return leave(run_process(main_with_notes, backend=settings.backend, stop_limit=drain_grace + STOP_LIMIT + margin))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `hub ...` and exits; see `hub.cli.command.EXIT_CODES`."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)

    def redact(text: str) -> str:
        for part in (part for token in tokens for part in (token, token.partition("=")[2])):
            if "@" in part or "://" in part:
                text = text.replace(part, redacted_url(part)).replace(repr(part), repr(redacted_url(part)))
        return redacted(text)

    try:
        check_names()
        app.config = tuple(layers())
        code = app(tokens, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        sys.exit(fail(usage_error(error), 2, redact=redact))
    except HubError as error:
        sys.exit(fail(str(error), error.exit_code, redact=redact))
    sys.exit(code or 0)
