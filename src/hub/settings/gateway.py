"""Settings of a gateway."""

from dataclasses import dataclass, field
from math import inf
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.http.middleware.compression import COMPRESS_ABOVE
from hub.http.middleware.cors import origins_of
from hub.http.middleware.root_path import root_path_of
from hub.http.serve.listen import ListenAddress
from hub.settings.connections import BrokerSettings, RegistryConnectionSettings, StoreSettings
from hub.settings.process import ABOVE_0, FROM_1, SECRET, MetricSettings, check_credentials
from hub.types import DEFAULT_RESULT_TTL, PENDING_TTL


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GatewaySettings(StoreSettings, BrokerSettings, RegistryConnectionSettings, MetricSettings):
    """A gateway process."""

    gateway_host: Annotated[str, Parameter(help="Address that the gateway listens on.")] = "127.0.0.1"
    gateway_port: Annotated[int, Parameter(help="Port of the gateway; 0 takes a free one.")] = 8000
    dashboard_host: Annotated[str, Parameter(help="Address that the dashboard listens on.")] = "127.0.0.1"
    dashboard_port: Annotated[int, Parameter(help="Port of the dashboard; 0: only at / of the gateway.")] = 3000
    api_keys: Annotated[
        str, Parameter(help="Keys of clients, comma-separated; needed beyond loopback. Empty: no keys.")
    ] = field(default="", metadata=SECRET)
    body_limit: Annotated[
        int, Parameter(help="Bytes of a request body at most; other clients wait while a big one is read.")
    ] = field(default=4 * 1024 * 1024, metadata=FROM_1)
    call_wait: Annotated[float, Parameter(help="Seconds that a synchronous call waits for its outcome.")] = field(
        default=60.0, metadata=ABOVE_0
    )
    publish_timeout: Annotated[float, Parameter(help="Seconds that a submit waits for the broker.")] = 5.0
    result_ttl: Annotated[float, Parameter(help="Seconds that an outcome is stored if the client does not say.")] = (
        DEFAULT_RESULT_TTL
    )
    result_ttl_min: Annotated[float, Parameter(help="Minimum of seconds that a client may request for an outcome.")] = (
        60.0
    )
    result_ttl_max: Annotated[float, Parameter(help="Maximum of seconds that a client may request for an outcome.")] = (
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
        bool, Parameter(help="Cancel the task of a synchronous call whose client disconnects.")
    ] = True
    compress_above: Annotated[
        int, Parameter(help="Bytes of a reply above which it is compressed for clients that accept gzip; 0: never.")
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
        if not 0 < self.publish_timeout <= PENDING_TTL / 2:
            raise ConfigurationError(
                f"publish_timeout is {self.publish_timeout:g} s; it must be above 0 and at most {PENDING_TTL / 2:g} s, "
                "after which a submit under the same Idempotency-Key may take the place of this one"
            )
        if self.queue_limit < 0:
            raise ConfigurationError(f"queue_limit is {self.queue_limit}; use 0 for no limit, or a positive number")
        if not 0 <= self.busy_after < inf:
            raise ConfigurationError(f"busy_after is {self.busy_after:g} s; use 0 for no limit, or a positive time")
        if self.compress_above < 0:
            raise ConfigurationError(f"compress_above is {self.compress_above}; use 0 for never, or a number of bytes")
        check_credentials("api_keys", self.keys)
        _ = self.origins, self.root

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.api_keys.split(",") if key.strip())

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose web pages may use the gateway.

        Raises:
            ConfigurationError: One of them is not an origin.
        """
        return origins_of(self.cors_origins)

    @property
    def root(self) -> str:
        """The path of the gateway for clients; empty for `/`.

        Raises:
            ConfigurationError: It is invalid.
        """
        return root_path_of(self.root_path)

    @property
    def gateway_bind(self) -> ListenAddress:
        return self.bind(
            self.gateway_host,
            self.gateway_port,
            what="gateway",
            guarded=bool(self.keys),
            repair="set HUB_API_KEYS",
        )

    @property
    def dashboard_bind(self) -> ListenAddress | None:
        if self.dashboard_port == 0:
            return None
        return self.bind(
            self.dashboard_host,
            self.dashboard_port,
            what="dashboard",
            guarded=bool(self.keys),
            repair="set HUB_API_KEYS",
        )
