"""One instance of a model, from its first connection to its last."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import TaskStatus
from structlog.typing import FilteringBoundLogger

from hub.contract import contract_of
from hub.errors import ConfigurationError
from hub.http.client import open_client
from hub.http.serve import serve
from hub.lifecycle import running
from hub.model.calls import loaded
from hub.model.membership import Membership
from hub.model.metrics import InstanceMetrics
from hub.model.model import Model
from hub.model.presence import Presence
from hub.model.routes import instance_app
from hub.model.worker import Worker, WorkerOptions
from hub.ports import Broker, ResultStore
from hub.registry.client import RegistryClient
from hub.settings import ModelSettings
from hub.supervision import unwrapped
from hub.vocabulary import InstanceId, model_name, new_instance_id

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

    It sets the model up, serves its HTTP routes, takes tasks, and logs in, in this order. When it is cancelled it stops
    taking tasks, logs out at once, lets running tasks finish for `drain_grace` seconds, hands the rest back, and closes
    the rest in reverse. If any of its parts dies it dies.

    Args:
        model: The class; it is made without arguments.
        settings: Addresses and times.
        broker: Open.
        store: Open.
        instance: Its id; a new one by default.
        task_status: Gets the URL of its HTTP routes once it is listed.

    Raises:
        ConfigurationError: The address to listen on, or to advertise, cannot work.
        LinkLost: Broker or registry were out of reach for `start_patience` seconds.
        NameTaken: The model's name belongs to another contract.
        Exception: What `setup` raised.
    """
    name = model_name(model.name)
    instance = instance or new_instance_id()
    served = model()
    contract = contract_of(served.get_request_format(), served.get_response_format())
    metrics = InstanceMetrics(name)
    worker = Worker(
        served,
        contract=contract,
        instance=instance,
        broker=broker,
        store=store,
        options=WorkerOptions(
            start_patience=settings.start_patience, drain_grace=settings.drain_grace, debug=settings.debug
        ),
        observe=metrics.observe,
    )
    metrics.follow(worker.statistics)
    presence = Presence(served, contract=contract, instance=instance, worker=worker)
    server = partial(serve, instance_app(presence, metrics, token=settings.token), settings.instance_bind)
    with unwrapped():
        async with (
            loaded(served),
            open_client(token=settings.token) as http,
            running(server, name=f"server of {instance}") as url,
            worker,
            Membership(
                RegistryClient(settings.registry_url, http),
                instance=instance,
                model=name,
                url=advertised(url, settings.advertise_host),
                contract=contract,
                example=model.example_json() if model.example() is not None else "",
                pinged_at=presence.pinged_at,
                ping_period=settings.ping_period,
                start_patience=settings.start_patience,
            ),
        ):
            _log.info("instance is up", model=name, instance=instance, url=url, concurrency=served.concurrency)
            task_status.started(url)
            try:
                await sleep_forever()
            finally:
                worker.stop()  # before the logout, which waits for the registry


def advertised(url: str, host: str) -> str:
    """The URL that others reach an instance at, when it listens at `url` and `host` is the name to use (or empty).

    Raises:
        ConfigurationError: It listens on all addresses, and nobody said which of them others reach.
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
