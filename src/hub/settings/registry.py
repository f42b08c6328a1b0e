"""Settings of a registry."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.http.serve.listen import ListenAddress
from hub.settings.connections import LOCAL_REDIS, BrokerSettings, check_redis
from hub.settings.process import ABOVE_0, FROM_1, SECRET, HttpSettings, check_url

if TYPE_CHECKING:
    from hub.ports.directory import LoginLimits

MAX_INSTANCES: Final = 10_000
"""Instances of a hub at most. One registry pings them all with a quarter of a core: see `benchmarks.fleet`."""

ContractMode = Literal["strict", "compatible"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegistrySettings(BrokerSettings, HttpSettings):
    """A registry process."""

    registry_host: Annotated[str, Parameter(help="Address that the registry listens on.")] = "127.0.0.1"
    registry_port: Annotated[int, Parameter(help="Port of the registry; 0 takes a free one.")] = 8001
    directory_url: Annotated[str, Parameter(help="Database of the instances: redis:// or memory://.")] = field(
        default=LOCAL_REDIS, metadata=SECRET
    )
    ping_period: Annotated[float, Parameter(help="Seconds between two pings of one instance.")] = 10.0
    ping_timeout: Annotated[float, Parameter(help="Seconds that an instance has to answer a ping.")] = 3.0
    ping_misses: Annotated[int, Parameter(help="Unanswered pings after which an instance is removed.")] = 3
    depth_period: Annotated[float, Parameter(help="Seconds between two polls of the depth of the queues.")] = field(
        default=2.0, metadata=ABOVE_0
    )
    contract_mode: Annotated[
        ContractMode,
        Parameter(
            help="strict: all instances of a model have one contract; compatible: also those that do not break it. "
            "The same for all registries."
        ),
    ] = "strict"
    max_models: Annotated[int, Parameter(help="Maximum number of models with instances.")] = field(
        default=1_000, metadata=FROM_1
    )
    max_instances: Annotated[int, Parameter(help="Maximum number of instances of all models.")] = field(
        default=5_000, metadata=FROM_1
    )
    max_model_instances: Annotated[int, Parameter(help="Maximum number of instances of one model.")] = field(
        default=1_000, metadata=FROM_1
    )
    max_contracts: Annotated[
        int,
        Parameter(
            help="Maximum number of contracts; those without an instance are removed first, the longest unused one first."
        ),
    ] = field(default=5_000, metadata=FROM_1)
    max_contract_bytes: Annotated[int, Parameter(help="Maximum number of bytes of all contracts.")] = field(
        default=256 * 1024 * 1024, metadata=FROM_1
    )
    contract_ttl: Annotated[
        float, Parameter(help="Seconds that the contract of a model is stored after its last instance.")
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
        if self.max_instances > MAX_INSTANCES:
            raise ConfigurationError(f"max_instances is {self.max_instances}; it must be at most {MAX_INSTANCES}")
        if not 0 < self.contract_ttl < inf:
            raise ConfigurationError(f"contract_ttl is {self.contract_ttl:g} s; it must be a number above 0")
        _ = self.networks
        check_url("directory_url", self.directory_url, check_redis)

    @property
    def login_limits(self) -> "LoginLimits":
        from hub.ports.directory import LoginLimits  # noqa: PLC0415 - the settings of a command line need no protobuf

        return LoginLimits(
            max_models=self.max_models,
            max_instances=self.max_instances,
            max_model_instances=self.max_model_instances,
            max_contracts=self.max_contracts,
            max_contract_bytes=self.max_contract_bytes,
        )

    @property
    def registry_bind(self) -> ListenAddress:
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
