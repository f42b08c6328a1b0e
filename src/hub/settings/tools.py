"""Settings of commands that show a running hub: `hub top` and `hub doctor`."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.settings.connections import RegistryConnectionSettings
from hub.settings.process import SECRET, ProcessSettings, check_credentials, check_url
from hub.settings.up import UpSettings
from hub.types import LogLevel
from hub.urls import REGISTRY_SCHEMES, split_url


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GatewayConnectionSettings(ProcessSettings):
    """The gateway, for its clients."""

    gateway_url: Annotated[str, Parameter(help="Base URL of a gateway, http:// or https://; empty: none.")] = field(
        default="", metadata=SECRET
    )
    api_key: Annotated[str, Parameter(help="The key for the gateway: one of its HUB_API_KEYS.")] = field(
        default="", metadata=SECRET
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_credentials("api_key", [self.api_key])
        if self.gateway_url:
            check_url("gateway_url", self.gateway_url, _check_http)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TopSettings(GatewayConnectionSettings, RegistryConnectionSettings):
    """`hub top`."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DoctorSettings(GatewayConnectionSettings, UpSettings):
    """`hub doctor`. It has every setting of every command."""

    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"
    management_url: Annotated[
        str,
        Parameter(
            help="RabbitMQ's management API, http://user:password@host:15672; without a user that of --broker-url. Empty: none."
        ),
    ] = field(default="", metadata=SECRET)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.management_url:
            check_url("management_url", self.management_url, _check_http)


def _check_http(url: str) -> None:
    parts = split_url(url, REGISTRY_SCHEMES)
    if not parts.hostname or parts.query or "," in parts.netloc:
        raise ConfigurationError("write http://host:port or https://host:port")
