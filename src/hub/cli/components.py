"""`hub up`, `hub registry`, `hub gateway` and `hub model`: a component, or all of them, as the whole process."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, TypeVar

import structlog
from anyio import create_task_group, sleep_forever
from cyclopts import Parameter

from hub.cli.command import explain, raise_open_files, redactor
from hub.cli.config import (
    EXPOSED,
    config_path,
    exposed_secrets,
    models_of_layers,
    sources_of_settings,
    unused_variables,
)
from hub.errors import ConfigurationError, HubError
from hub.observability.logs import configure_logging
from hub.settings.connections import require_shared
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import ProcessSettings
from hub.settings.registry import RegistrySettings
from hub.settings.up import UpSettings

if TYPE_CHECKING:
    from hub.cli.up import ModelsService
    from hub.concurrency.services import Service

_log = structlog.get_logger("hub.cli")

ModelTargets = Annotated[
    str,
    Parameter(env_var=(), help="Models to run, each as pkg.module:Class; by default those of HUB_MODELS or hub.toml."),
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


def up(*models: ModelTargets, reload: Reload = False, settings: UpSettings | None = None) -> int:
    """Run registry, gateway, dashboard and models in this one process.

    With the default memory:// URLs no server needs to be installed, and all data is lost at exit.
    """
    from hub.cli.load import load_model  # noqa: PLC0415 - each command loads only what it runs
    from hub.cli.up import print_summary, run_up  # noqa: PLC0415

    settings = _with_free_dashboard(settings or UpSettings())
    targets = models or models_of_layers()
    run_models = _reloaded(targets) if reload else [load_model(target) for target in targets]

    async def main() -> None:
        async with create_task_group() as tg:
            print_summary(await tg.start(partial(run_up, run_models, settings), name="hub.up"))

    return _run(main, settings)


def registry(*, settings: RegistrySettings | None = None) -> int:
    """Run the registry: it stores the instances, pings them, and lists the live models."""
    from hub.cli.resources import hold_broker, hold_directory  # noqa: PLC0415
    from hub.registry.service import run_registry  # noqa: PLC0415

    settings = settings or RegistrySettings()
    require_shared(settings)
    raise_open_files()

    async def main() -> None:
        async with hold_broker(settings) as broker, hold_directory(settings) as directory:
            await _run_component("registry", partial(run_registry, settings, directory=directory, broker=broker))

    return _run(main, settings)


def gateway(*, settings: GatewaySettings | None = None) -> int:
    """Run the gateway: the HTTP API of every live model."""
    from hub.cli.resources import hold_broker, hold_store  # noqa: PLC0415
    from hub.gateway.memory import return_large_blocks  # noqa: PLC0415
    from hub.gateway.service import run_gateway  # noqa: PLC0415

    return_large_blocks()
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


def model(target: ModelTarget, /, *, instances: Instances = 1, settings: ModelSettings | None = None) -> int:
    """Run one instance of a model: it receives tasks from the model's queue and stores their outcomes."""
    settings = settings or ModelSettings()
    require_shared(settings)
    if instances != 1:
        return _run_instances(target, instances, settings)
    from hub.cli.load import load_model  # noqa: PLC0415
    from hub.cli.resources import hold_broker, hold_store  # noqa: PLC0415
    from hub.model.instance.instance import run_instance  # noqa: PLC0415

    model_class = load_model(target)

    async def main() -> None:
        async with hold_broker(settings) as broker, hold_store(settings) as store:
            instance = partial(run_instance, model_class, settings, broker=broker, store=store)
            await _run_component(f"instance of {model_class.name}", instance)

    return _run(main, settings)


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
    from hub.concurrency.services import background_service  # noqa: PLC0415

    async with background_service(component, name=what) as url:
        _log.info(f"{what} is up", url=url)
        await sleep_forever()


def _run(main: Callable[[], Awaitable[None]], settings: ProcessSettings, *, margin: float = 0.0) -> int:
    from hub.concurrency.exceptions import collapse_exception_group  # noqa: PLC0415
    from hub.concurrency.process import STOP_LIMIT, leave, run_process  # noqa: PLC0415

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
