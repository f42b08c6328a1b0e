"""One typed settings object for each kind of process.

The names are the same everywhere: the field `ping_period` is the key `ping_period` in `hub.toml`, the variable
`HUB_PING_PERIOD` and the option `--ping-period`. `hub.cli.sources` fills the objects in that order of precedence.
Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from typing_extensions import override

from hub.directories.sharing import LONGEST_CHANGES
from hub.errors import ConfigurationError
from hub.histogram import SECONDS, bounds_of
from hub.http.bind import Bind
from hub.http.compression import COMPRESS_ABOVE
from hub.http.connection import ConnectionLimits
from hub.http.cors import origins_of
from hub.http.hosts import Hosts, hosts_of
from hub.http.request_parser import HEAD_LIMIT
from hub.http.root_path import root_path_of
from hub.ports import LoginLimits
from hub.redaction import redacted_url
from hub.redis.address import redis_address
from hub.task import DEFAULT_RESULT_TTL, PENDING_TTL
from hub.urls import BROKER_SCHEMES, LARGEST_PORT, REGISTRY_SCHEMES, STORE_SCHEMES, split_url
from hub.vocabulary import LogFormat, LogLevel

Backend = Literal["asyncio", "trio"]
QueueType = Literal["quorum", "classic"]
ContractMode = Literal["strict", "compatible"]

LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672/"
LOCAL_REDIS = "redis://127.0.0.1:6379/0"
LOCAL_REGISTRY = "http://127.0.0.1:8001"
MEMORY = "memory://"

SMALLEST_HEAD_LIMIT = 4096
"""Bytes: what a browser sends of its own, with some cookies of other servers on the same host."""

_SECRET = {"secret": True}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """What every process of hub understands."""

    backend: Annotated[Backend, Parameter(help="The event loop to run on.")] = "asyncio"
    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "info"
    log_format: Annotated[LogFormat, Parameter(help="For people, or one JSON object a line.")] = "console"
    token: Annotated[
        str, Parameter(help="Guards the routes of the registry and of the instances; needed beyond loopback.")
    ] = field(default="", metadata=_SECRET)
    allowed_hosts: Annotated[
        str,
        Parameter(
            help="Names that the process's servers answer to, comma-separated, *.example.com for all below one, beside IP "
            "addresses, localhost, and what they listen on and advertise; others get 421. *: any."
        ),
    ] = ""
    tls_certificate: Annotated[Path | None, Parameter(help="PEM chain; with --tls-key our HTTP is HTTPS.")] = None
    tls_key: Annotated[Path | None, Parameter(help="PEM private key of --tls-certificate.")] = None

    def __post_init__(self) -> None:
        """Refuses values that cannot work; each class of the family checks its own and calls the next.

        Raises:
            ConfigurationError: Names the setting, its value and the repair.
        """
        for each in fields(self):
            if each.name.endswith("_port") and not 0 <= (port := getattr(self, each.name)) <= LARGEST_PORT:
                zero = "for none" if each.name == "dashboard_port" else "for any that is free"
                raise ConfigurationError(
                    f"{each.name} is {port}; a port is a number from 1 to {LARGEST_PORT}, 0 {zero}"
                )
        _check_credentials("token", [self.token])
        _ = self.hosts

    @property
    def hosts(self) -> Hosts:
        """The names of `allowed_hosts`.

        Raises:
            ConfigurationError: One of them is no host name.
        """
        return hosts_of(self.allowed_hosts)

    def bind(self, host: str, port: int, *, what: str, guarded: bool, repair: str) -> Bind:
        """Where to listen.

        Raises:
            ConfigurationError: The address can be reached from other machines and nothing guards it.
        """
        bind = Bind(host=host, port=port, certificate=self.tls_certificate, key=self.tls_key)
        if not guarded and not bind.loopback:
            raise ConfigurationError(
                f"the {what} would listen on {host}, which other machines can reach, with no credential asked: "
                f"{repair}, or listen on 127.0.0.1"
            )
        return bind


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StartSettings(ProcessSettings):
    """How a process that stays starts."""

    start_patience: Annotated[
        float,
        Parameter(
            help="Seconds to try for each server that is needed at the start, one after the other; then exit code 3."
        ),
    ] = 60.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_patience < 0:
            raise ConfigurationError(
                f"start_patience is {self.start_patience:g} s; use 0 for one attempt, or a positive time"
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HttpSettings(StartSettings):
    """What the clients of an HTTP server may take of it."""

    connection_limit: Annotated[
        int,
        Parameter(
            help="Connections of clients to one server at most; 0: as many as the limit on open files allows, less 64."
        ),
    ] = 0
    head_limit: Annotated[
        int, Parameter(help="Bytes of the request line and the headers of a request at most; each line counts 32 more.")
    ] = HEAD_LIMIT
    request_timeout: Annotated[
        float,
        Parameter(
            help="Seconds that a client has for the head of a request, and may be behind with its body (512 B/s)."
        ),
    ] = 20.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.connection_limit < 0:
            raise ConfigurationError(
                f"connection_limit is {self.connection_limit}; use 0 for what the limit on open files allows, or a "
                "positive number"
            )
        if self.head_limit < SMALLEST_HEAD_LIMIT:
            raise ConfigurationError(
                f"head_limit is {self.head_limit} bytes; browsers and proxies need {SMALLEST_HEAD_LIMIT} at least"
            )
        if not self.request_timeout > 0:
            raise ConfigurationError(f"request_timeout is {self.request_timeout:g} s; use a positive time")

    @override
    def bind(self, host: str, port: int, *, what: str, guarded: bool, repair: str) -> Bind:
        limits = ConnectionLimits(
            head_limit=self.head_limit,
            request_timeout=self.request_timeout,
            connection_limit=self.connection_limit,
        )
        return replace(super().bind(host, port, what=what, guarded=guarded, repair=repair), limits=limits)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricSettings(HttpSettings):
    """How times are counted."""

    metric_buckets: Annotated[
        str, Parameter(help="Upper bounds of the buckets of times on /metrics: seconds, rising, comma-separated.")
    ] = ",".join(f"{bound:g}" for bound in SECONDS)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.buckets

    @property
    def buckets(self) -> tuple[float, ...]:
        """The bounds in seconds.

        Raises:
            ConfigurationError: They do not rise, or are no times.
        """
        return bounds_of(self.metric_buckets)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BrokerSettings(ProcessSettings):
    """How to reach the broker, and what the queues of models are like."""

    broker_url: Annotated[
        str,
        Parameter(
            help="amqp://, amqps://, amqp+aiormq:// (asyncio only); nodes of a cluster: amqp://user:pw@a:5672,b,c/vhost."
        ),
    ] = field(default=LOCAL_RABBITMQ, metadata=_SECRET)
    queue_type: Annotated[QueueType, Parameter(help="Type of the queues that models declare.")] = "quorum"
    queue_delivery_limit: Annotated[
        int, Parameter(help="Returns of one message after which the broker itself dead-letters it.")
    ] = 100
    queue_max_length: Annotated[
        int | None, Parameter(help="Messages in one queue at most; the broker refuses more.")
    ] = None
    heartbeat: Annotated[int, Parameter(help="Seconds between heartbeats on a link to the broker.")] = 15
    consumer_timeout: Annotated[
        float, Parameter(help="RabbitMQ's consumer_timeout in seconds; every run has to end before.")
    ] = 1800.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _check_url("broker_url", self.broker_url, _check_broker)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StoreSettings(ProcessSettings):
    """How to reach the result store."""

    store_url: Annotated[str, Parameter(help="redis://, rediss://, redis+redispy:// (asyncio only).")] = field(
        default=LOCAL_REDIS, metadata=_SECRET
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _check_url("store_url", self.store_url, _check_redis)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegistryLinkSettings(ProcessSettings):
    """How to reach the registry."""

    registry_url: Annotated[str, Parameter(help="Base URL of the registry, http:// or https://.")] = field(
        default=LOCAL_REGISTRY, metadata=_SECRET
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _check_url("registry_url", self.registry_url, _check_registry)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegistrySettings(BrokerSettings, HttpSettings):
    """A registry process."""

    registry_host: Annotated[str, Parameter(help="Address that the registry listens on.")] = "127.0.0.1"
    registry_port: Annotated[int, Parameter(help="Port of the registry; 0 takes a free one.")] = 8001
    directory_url: Annotated[str, Parameter(help="Where instances are kept: redis:// or memory://.")] = field(
        default=LOCAL_REDIS, metadata=_SECRET
    )
    ping_period: Annotated[float, Parameter(help="Seconds between two pings of one instance.")] = 10.0
    ping_timeout: Annotated[float, Parameter(help="Seconds that an instance has to answer a ping.")] = 3.0
    ping_misses: Annotated[int, Parameter(help="Unanswered pings after which an instance is removed.")] = 3
    depth_period: Annotated[float, Parameter(help="Seconds between two looks at the depth of the queues.")] = 2.0
    contract_mode: Annotated[
        ContractMode,
        Parameter(
            help="strict: all instances of a model have one contract; compatible: also those that do not break it. "
            "The same for all registries."
        ),
    ] = "strict"
    max_models: Annotated[int, Parameter(help="Models that may have instances at a time.")] = 1_000
    max_instances: Annotated[int, Parameter(help="Instances of all models that may be listed at a time.")] = 5_000
    max_model_instances: Annotated[int, Parameter(help="Instances of one model that may be listed at a time.")] = 1_000
    max_contracts: Annotated[
        int, Parameter(help="Contracts that are kept; those without an instance go first, the longest unused before.")
    ] = 5_000
    max_contract_bytes: Annotated[int, Parameter(help="Bytes of all contracts that are kept.")] = 256 * 1024 * 1024
    contract_ttl: Annotated[
        float, Parameter(help="Seconds that the contract of a model is remembered when no instance has it any more.")
    ] = 30 * 86_400.0
    instance_networks: Annotated[
        str, Parameter(help="Networks that instances may be in, comma-separated; empty: loopback, or any with a token.")
    ] = ""

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ping_timeout < self.ping_period:
            raise ConfigurationError(
                f"ping_timeout ({self.ping_timeout:g} s) must be above 0 and below ping_period ({self.ping_period:g} s)"
            )
        if self.ping_misses < 1:
            raise ConfigurationError("ping_misses must be at least 1")
        for name, most in asdict(self.login_limits).items():
            if most < 1:
                raise ConfigurationError(f"{name} is {most}; it must be at least 1")
        if self.max_instances > LONGEST_CHANGES:
            raise ConfigurationError(f"max_instances is {self.max_instances}; it must be at most {LONGEST_CHANGES}")
        if not 0 < self.contract_ttl < inf:
            raise ConfigurationError(f"contract_ttl is {self.contract_ttl:g} s; it must be a number above 0")
        _ = self.networks
        _check_url("directory_url", self.directory_url, _check_redis)

    @property
    def login_limits(self) -> LoginLimits:
        return LoginLimits(
            max_models=self.max_models,
            max_instances=self.max_instances,
            max_model_instances=self.max_model_instances,
            max_contracts=self.max_contracts,
            max_contract_bytes=self.max_contract_bytes,
        )

    @property
    def registry_bind(self) -> Bind:
        return self.bind(
            self.registry_host,
            self.registry_port,
            what="registry",
            guarded=bool(self.token),
            repair="set HUB_TOKEN here and on every instance and gateway",
        )

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks whose addresses the registry pings.

        Raises:
            ConfigurationError: One of them is not a network.
        """
        text = self.instance_networks or ("0.0.0.0/0,::/0" if self.token else "127.0.0.0/8,::1/128")
        try:
            return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
        except ValueError as error:
            raise ConfigurationError(
                f"instance_networks: {error}; write networks like 10.0.0.0/8, separated by commas"
            ) from error


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GatewaySettings(StoreSettings, BrokerSettings, RegistryLinkSettings, MetricSettings):
    """A gateway process."""

    gateway_host: Annotated[str, Parameter(help="Address that the gateway listens on.")] = "127.0.0.1"
    gateway_port: Annotated[int, Parameter(help="Port of the gateway; 0 takes a free one.")] = 8000
    dashboard_host: Annotated[str, Parameter(help="Address that the dashboard listens on.")] = "127.0.0.1"
    dashboard_port: Annotated[int, Parameter(help="Port of the dashboard; 0: only at / of the gateway.")] = 3000
    api_keys: Annotated[
        str, Parameter(help="Keys of clients, comma-separated; needed beyond loopback. Empty: no key is asked.")
    ] = field(default="", metadata=_SECRET)
    body_limit: Annotated[
        int, Parameter(help="Bytes of a request body at most; other clients wait while a big one is read.")
    ] = 4 * 1024 * 1024
    call_wait: Annotated[float, Parameter(help="Seconds that a synchronous call waits for its outcome.")] = 60.0
    publish_patience: Annotated[float, Parameter(help="Seconds that a submit waits for the broker.")] = 5.0
    result_ttl: Annotated[float, Parameter(help="Seconds that an outcome is kept when the client does not say.")] = (
        DEFAULT_RESULT_TTL
    )
    result_ttl_min: Annotated[float, Parameter(help="Least seconds that a client may ask an outcome to be kept.")] = (
        60.0
    )
    result_ttl_max: Annotated[float, Parameter(help="Most seconds that a client may ask an outcome to be kept.")] = (
        7 * DEFAULT_RESULT_TTL
    )
    queue_limit: Annotated[
        int,
        Parameter(help="Messages that wait in a queue, above which the gateway refuses more with 429; 0: no limit."),
    ] = 10_000
    busy_after: Annotated[
        float,
        Parameter(
            help="Seconds that submits and reads may take on average; more of them are refused with 503; 0: no limit."
        ),
    ] = 0.5
    cancel_on_disconnect: Annotated[
        bool, Parameter(help="Cancel the task of a synchronous call whose client hangs up.")
    ] = True
    compress_above: Annotated[
        int, Parameter(help="Bytes of a reply above which it is compressed for clients that take gzip; 0: never.")
    ] = COMPRESS_ABOVE
    cors_origins: Annotated[
        str, Parameter(help="Origins whose web pages may use the API, comma-separated, or * for any; empty: none.")
    ] = ""
    root_path: Annotated[
        str, Parameter(help="Path below which a proxy shows the gateway, like /hub; it may cut it off or pass it on.")
    ] = ""

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.result_ttl_min <= self.result_ttl <= self.result_ttl_max:
            raise ConfigurationError(
                f"result_ttl ({self.result_ttl:g} s) must be between result_ttl_min ({self.result_ttl_min:g} s, above 0) "
                f"and result_ttl_max ({self.result_ttl_max:g} s)"
            )
        if not 0 < self.publish_patience <= PENDING_TTL / 2:
            raise ConfigurationError(
                f"publish_patience is {self.publish_patience:g} s; it must be above 0 and at most {PENDING_TTL / 2:g} s, "
                "after which a submit under the same Idempotency-Key may take the place of this one"
            )
        if self.queue_limit < 0:
            raise ConfigurationError(f"queue_limit is {self.queue_limit}; use 0 for no limit, or a positive number")
        if not 0 <= self.busy_after < inf:
            raise ConfigurationError(f"busy_after is {self.busy_after:g} s; use 0 for no limit, or a positive time")
        if self.compress_above < 0:
            raise ConfigurationError(f"compress_above is {self.compress_above}; use 0 for never, or a number of bytes")
        _check_credentials("api_keys", self.keys)
        _ = self.origins, self.root

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.api_keys.split(",") if key.strip())

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose web pages may use the gateway.

        Raises:
            ConfigurationError: One of them is no origin.
        """
        return origins_of(self.cors_origins)

    @property
    def root(self) -> str:
        """Where clients find the gateway; empty for `/`.

        Raises:
            ConfigurationError: It cannot be used.
        """
        return root_path_of(self.root_path)

    @property
    def gateway_bind(self) -> Bind:
        return self.bind(
            self.gateway_host,
            self.gateway_port,
            what="gateway",
            guarded=bool(self.keys),
            repair="set HUB_API_KEYS",
        )

    @property
    def dashboard_bind(self) -> Bind | None:
        if self.dashboard_port == 0:
            return None
        return self.bind(
            self.dashboard_host,
            self.dashboard_port,
            what="dashboard",
            guarded=bool(self.keys),
            repair="set HUB_API_KEYS",
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSettings(StoreSettings, BrokerSettings, RegistryLinkSettings, MetricSettings):
    """A process that runs an instance of a model."""

    instance_host: Annotated[str, Parameter(help="Address that the instance answers pings on.")] = "127.0.0.1"
    instance_port: Annotated[int, Parameter(help="Port of the instance; 0 takes a free one.")] = 0
    advertise_host: Annotated[
        str, Parameter(help="Name or address under which the registry reaches the instance; empty: --instance-host.")
    ] = ""
    ping_period: Annotated[
        float, Parameter(help="The registry's ping period; after three without a ping the instance logs in again.")
    ] = 10.0
    drain_grace: Annotated[float, Parameter(help="Seconds that running tasks have to finish at shutdown.")] = 30.0
    attempt_limit: Annotated[
        int, Parameter(help="Runs of one task that may be cut short by a dying instance; then the task is dead.")
    ] = 5
    result_limit: Annotated[
        int, Parameter(help="Bytes of a response at most; a larger one fails its task. 0: as many as Redis takes.")
    ] = 16 * 1024 * 1024
    debug: Annotated[bool, Parameter(help="Store tracebacks of failed tasks with their outcome.")] = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempt_limit < 1:
            raise ConfigurationError(f"attempt_limit is {self.attempt_limit}; a task needs at least 1 attempt")
        if self.result_limit < 0:
            raise ConfigurationError(f"result_limit is {self.result_limit}; use 0 for no limit, or a number of bytes")

    @property
    def instance_bind(self) -> Bind:
        return self.bind(
            self.instance_host,
            self.instance_port,
            what="instance",
            guarded=bool(self.token),
            repair="set HUB_TOKEN here and on the registry",
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DeadSettings(StoreSettings, BrokerSettings, RegistryLinkSettings):
    """A command that works on dead letters, and ends."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SchemaSettings(RegistryLinkSettings):
    """A command that asks the registry about contracts, and ends."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UpSettings(RegistrySettings, GatewaySettings, ModelSettings):
    """Everything in one process: the embedded default, with nothing to install."""

    broker_url: Annotated[str, Parameter(help="memory://, or a RabbitMQ as in the other commands.")] = field(
        default=MEMORY, metadata=_SECRET
    )
    store_url: Annotated[str, Parameter(help="memory://, or a Redis as in the other commands.")] = field(
        default=MEMORY, metadata=_SECRET
    )
    directory_url: Annotated[str, Parameter(help="memory://, or a Redis as in the other commands.")] = field(
        default=MEMORY, metadata=_SECRET
    )


def _check_credentials(name: str, values: Sequence[str]) -> None:
    """Refuses what cannot be sent in a header, and what would not arrive as it was sent."""
    wrong = next((character for value in values for character in value if not " " <= character <= "~"), None)
    if wrong is not None:
        raise ConfigurationError(
            f"{name} has the character {wrong!a}, which HTTP headers cannot carry: write it in visible ASCII, "
            "such as the output of `openssl rand -hex 24`"
        )
    if any(value != value.strip() for value in values):
        raise ConfigurationError(f"{name} begins or ends with a blank, which HTTP headers lose: write it without")


def _check_url(name: str, url: str, check: Callable[[str], object]) -> None:
    try:
        check(url)
    except ConfigurationError as error:
        shown = repr(redacted_url(url))
        text = str(error) if shown in str(error) else f"{shown}: {error}"
        raise ConfigurationError(f"{name} cannot work (HUB_{name.upper()}): {text}") from error


def _check_broker(url: str) -> None:
    from hub.brokers.opening import check_broker_url  # noqa: PLC0415 - `hub --help` does not need the driver

    if split_url(url, BROKER_SCHEMES).scheme != "memory":
        check_broker_url(url)


def _check_redis(url: str) -> None:
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
                f"{name} is {MEMORY}, which lives inside one process: name a server that this process and the others "
                f"can reach (HUB_{name.upper()}), or run everything in one process with `hub up`"
            )
