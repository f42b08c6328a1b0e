"""One instance of a model, from its first connection to its last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from anyio import TASK_STATUS_IGNORED, move_on_after, sleep_forever
from anyio.abc import TaskStatus
from structlog.typing import FilteringBoundLogger

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.contract.comments import Comments, comments_beside
from hub.errors import ConfigurationError, HubError
from hub.http.client import open_client
from hub.http.serve.server import serve
from hub.model.errors import ChildError, ModelExit, ModelNotStarted
from hub.model.execution.error_text import error_summary
from hub.model.execution.exits import exits_as_errors
from hub.model.execution.lifespan import create_model, lifespan
from hub.model.execution.own_loop import OwnLoop
from hub.model.instance.called_models import RegistryModels
from hub.model.instance.compatibility import RegistryCompatibility
from hub.model.instance.health_reporter import HealthReporter
from hub.model.instance.metrics import InstanceMetrics
from hub.model.instance.registration import LOGOUT_TIMEOUT, Registration
from hub.model.instance.routes import instance_app
from hub.model.model import Model, processes_batches, require_process_request
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.observability.connection_metrics import ConnectionCollector
from hub.ports.broker import Broker
from hub.ports.directory import ModelLimits
from hub.ports.result_store import ResultStore
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.settings.connections import MEMORY
from hub.settings.model import ModelSettings
from hub.types import InstanceId, model_name, new_instance_id

RUN_SHARE: Final = 0.95
"""Share of the broker's consumer timeout that a run may take; the rest is for storing its outcome."""

OPERATIONS: Final = ("start", "finish")
"""Operations of the store that each task needs."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


async def run_instance(
    model: type[Model[Any, Any]],
    settings: ModelSettings,
    *,
    broker: Broker,
    store: ResultStore,
    instance: InstanceId | None = None,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Runs one instance until it is cancelled.

    It serves its HTTP routes, calls `setup`, receives tasks, and logs in, in this order. A model with a `setup` of its own
    is logged in before that too, as `loading`: gateways then answer that it is loading, and a name that another contract
    holds is an error at once. When it is cancelled it receives no more tasks, logs out at once, waits for running tasks for
    `drain_grace` seconds, requeues the rest, and closes its parts in reverse order. If one of its parts fails, it ends with
    that error.

    Args:
        model: The class; its `__init__` is called without arguments.
        settings: Addresses and times.
        broker: Open.
        store: Open.
        instance: Its id; a new one by default.
        task_status: Gets the URL of its HTTP routes once it is registered.

    Raises:
        ConfigurationError: The address to listen on, or to advertise, cannot work; or the model has no `process_request`.
        ConnectionLost: Broker or registry was out of reach for `start_timeout` seconds.
        NameTaken: The model's name belongs to another contract.
        ConnectionRefused: Broker, store or registry refuses the connection.
        ModelNotStarted: The model's `__init__`, `setup`, `example` or `get_..._format` raised.
    """
    instance = instance or new_instance_id()
    require_process_request(model)
    served = create_model(model)
    options = WorkerOptions(
        start_timeout=settings.start_timeout,
        drain_grace=settings.drain_grace,
        attempt_limit=settings.attempt_limit,
        run_limit=run_limit(model, settings),
        result_limit=settings.result_limit,
        stream_limit=settings.stream_limit,
        buckets=settings.buckets,
        debug=settings.debug,
    )
    try:
        with collapse_exception_group():
            client = open_client(url=settings.registry_url, token=settings.token)
            async with _loop_of(served) as loop, client as http:
                registry = RegistryClient(settings.registry_url, http)
                await _run(
                    served,
                    instance,
                    registry,
                    settings=settings,
                    options=options,
                    broker=broker,
                    store=store,
                    loop=loop,
                    task_status=task_status,
                )
    except ChildError as error:  # a process of the model could not begin; what a task raises becomes its outcome
        raise ModelNotStarted(model.name, "a process", error_summary(error)) from error


@asynccontextmanager
async def _loop_of(model: Model[Any, Any]) -> AsyncGenerator[OwnLoop | None]:
    if model.shares_loop or model.run_in_process:
        yield None
    else:
        async with OwnLoop(model.name) as loop:
            yield loop


def _comments(served: Model[Any, Any]) -> Comments:
    """The comments beside the modules of the messages. Without them the model is only described worse."""
    comments, unreadable = comments_beside([served.get_request_format(), served.get_response_format()])
    for text in unreadable:
        _log.warning("comments of .proto files cannot be read", model=served.name, reason=text)
    return comments


async def _run(
    served: Model[Any, Any],
    instance: InstanceId,
    registry: RegistryClient,
    *,
    settings: ModelSettings,
    options: WorkerOptions,
    broker: Broker,
    store: ResultStore,
    loop: OwnLoop | None,
    task_status: TaskStatus[str],
) -> None:
    name = model_name(served.name)
    step = "get_request_format, get_response_format or example"
    try:
        with exits_as_errors(step):
            formats = served.get_request_format(), served.get_response_format()
            contract = Contract.from_descriptors(*formats, streaming=served.streaming)
            example = served.example_json() if served.example() is not None else ""
            comments = _comments(served)
    except Exception as error:
        if isinstance(error, HubError) and not isinstance(error, ModelExit):
            raise
        raise ModelNotStarted(served.name, step, error_summary(error)) from error
    compatibility = RegistryCompatibility(registry, name, contract)
    worker = Worker(
        served,
        contract=contract,
        instance=instance,
        broker=broker,
        store=store,
        options=options,
        others=compatibility,
        loop=loop,
        called=RegistryModels(registry),
    )
    links = ConnectionCollector(broker, store, operations=OPERATIONS, buckets=settings.buckets)
    metrics = InstanceMetrics(name, worker.statistics, links=links)
    reporter = HealthReporter(served, contract=contract, instance=instance, worker=worker, loop=loop)
    hosts = settings.hosts.known_as(settings.instance_host, settings.advertise_host)
    app = instance_app(reporter, metrics, token=settings.token, hosts=hosts)
    server = partial(serve, app, settings.instance_bind)
    async with AsyncExitStack() as stack:
        url: str = await stack.enter_async_context(background_service(server, name=f"server of {instance}"))
        loads = type(served).setup is not Model.setup  # pyright: ignore[reportUnknownMemberType]  # no arguments to know
        login = LoginRequest(
            instance=instance,
            model=name,
            url=advertised(url, settings.advertise_host),
            contract=contract,
            example=example,
            comments=comments,
            limits=ModelLimits(
                concurrency=served.concurrency,
                default_timeout=served.default_timeout,
                max_timeout=served.max_timeout,
                max_batch_size=served.max_batch_size if processes_batches(type(served)) else 1,
            ),
            loading=loads,
        )
        registration = Registration(
            registry,
            login,
            pinged_at=reporter.pinged_at,
            ping_period=settings.ping_period,
            start_timeout=settings.start_timeout,
            on_login=compatibility.on_login,
        )
        if loads:
            await stack.enter_async_context(registration)
            _log.info("setup begins", model=name, instance=instance)
        await stack.enter_async_context(lifespan(served, loop=loop, grace=settings.drain_grace))
        await stack.enter_async_context(worker)
        reporter.ready()
        if loads:
            await registration.ready()
        else:
            await stack.enter_async_context(registration)
        _log.info("instance is up", model=name, instance=instance, url=url, concurrency=served.concurrency)
        worker.on_consuming(registration.update_consuming)
        task_status.started(url)
        try:
            await sleep_forever()
        finally:
            worker.stop()  # before the logout, which waits for the registry
            with move_on_after(LOGOUT_TIMEOUT, shield=True):
                await registration.leave()  # before the drain, which may take long


def run_limit(model: type[Model[Any, Any]], settings: ModelSettings) -> float:
    """Seconds that one run may take, so that RabbitMQ never takes a message away from an instance that works.

    RabbitMQ closes the channel of a consumer that holds a message for longer than `consumer_timeout`, and gives the
    message to the next one: a task that takes longer would be run again and again (rabbitmq.com/docs/consumers, "Delivery
    Acknowledgement Timeout"). The embedded broker has no such limit.

    Raises:
        ConfigurationError: The model promises its clients more than that.
    """
    if settings.broker_url.startswith(MEMORY):
        return inf
    if model.max_timeout is not None and model.max_timeout >= settings.consumer_timeout:
        raise ConfigurationError(
            f"max_timeout of {model.name} is {model.max_timeout:g} s, but RabbitMQ takes tasks away from an instance "
            f"after {settings.consumer_timeout:g} s: lower max_timeout, or raise consumer_timeout in rabbitmq.conf (it "
            "counts milliseconds) and set HUB_CONSUMER_TIMEOUT to the same time in seconds"
        )
    return settings.consumer_timeout * RUN_SHARE


def advertised(url: str, host: str) -> str:
    """The URL that others reach an instance at, when it listens at `url` and `host` is the name to use (or empty).

    Raises:
        ConfigurationError: It listens on all addresses, and `host` is empty.
    """
    parts = urlsplit(url)
    if host:
        shown = f"[{host}]" if ":" in host else host
        return parts._replace(netloc=f"{shown}:{parts.port}").geturl()
    try:
        everywhere = ip_address(parts.hostname or "").is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        raise ConfigurationError(
            f"the instance listens on {parts.hostname}, which is every address of this machine: "
            "set HUB_ADVERTISE_HOST to the one at which the registry reaches it"
        )
    return url
