"""Settings of the servers that a process connects to: broker, result store, registry."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.redis.address import redis_address
from hub.settings.process import ABOVE_0, FROM_0, FROM_1, SECRET, ProcessSettings, check_url
from hub.types import LogLevel
from hub.urls import BROKER_SCHEMES, REGISTRY_SCHEMES, STORE_SCHEMES, split_url

QueueType = Literal["quorum", "classic"]

LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672/"

LOCAL_REDIS = "redis://127.0.0.1:6379/0"

LOCAL_REGISTRY = "http://127.0.0.1:8001"

MEMORY = "memory://"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BrokerSettings(ProcessSettings):
    """The broker, and the queues of models."""

    broker_url: Annotated[
        str,
        Parameter(
            help="amqp://, amqps://, amqp+aiormq:// (asyncio only); nodes of a cluster: amqp://user:pw@a:5672,b,c/vhost."
        ),
    ] = field(default=LOCAL_RABBITMQ, metadata=SECRET)
    queue_type: Annotated[QueueType, Parameter(help="Type of the queues that models declare.")] = "quorum"
    queue_delivery_limit: Annotated[
        int, Parameter(help="Requeues of one message after which the broker itself dead-letters it.")
    ] = field(default=100, metadata=FROM_1)
    queue_max_length: Annotated[
        int | None, Parameter(help="Maximum number of messages in one queue; the broker refuses more.")
    ] = field(default=None, metadata=FROM_1)
    heartbeat: Annotated[int, Parameter(help="Seconds between heartbeats on a connection to the broker.")] = field(
        default=15, metadata=FROM_0
    )
    consumer_timeout: Annotated[
        float, Parameter(help="RabbitMQ's consumer_timeout in seconds; every run has to end before.")
    ] = field(default=1800.0, metadata=ABOVE_0)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("broker_url", self.broker_url, _check_broker)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StoreSettings(ProcessSettings):
    """The result store."""

    store_url: Annotated[str, Parameter(help="redis://, rediss://, redis+redispy:// (asyncio only).")] = field(
        default=LOCAL_REDIS, metadata=SECRET
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("store_url", self.store_url, check_redis)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegistryConnectionSettings(ProcessSettings):
    """The registry."""

    registry_url: Annotated[str, Parameter(help="Base URL of the registry, http:// or https://.")] = field(
        default=LOCAL_REGISTRY, metadata=SECRET
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("registry_url", self.registry_url, _check_registry)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DeadSettings(StoreSettings, BrokerSettings, RegistryConnectionSettings):
    """`hub dead`."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SchemaSettings(RegistryConnectionSettings):
    """`hub schema`."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"


def _check_broker(url: str) -> None:
    if split_url(url, BROKER_SCHEMES).scheme != "memory":
        from hub.brokers.opening import check_broker_url  # noqa: PLC0415 - loads a driver

        check_broker_url(url)


def check_redis(url: str) -> None:
    if split_url(url, STORE_SCHEMES).scheme != "memory":
        redis_address(url)


def _check_registry(url: str) -> None:
    parts = split_url(url, REGISTRY_SCHEMES)
    if not parts.hostname or parts.query or "," in parts.netloc:
        raise ConfigurationError("write http://host:port or https://host:port")


def require_shared(settings: BrokerSettings | StoreSettings) -> None:
    """Refuses `memory://` for a process that must share its broker or store with other processes.

    Raises:
        ConfigurationError: One of them is `memory://`.
    """
    for name in ("broker_url", "store_url"):
        if getattr(settings, name, "").startswith(MEMORY):
            raise ConfigurationError(
                f"{name} is {MEMORY}, which exists in one process only: name a server that this process and the others "
                f"can reach (HUB_{name.upper()}), or run everything in one process with `hub up`"
            )
