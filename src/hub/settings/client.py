"""Settings of the commands that use a gateway."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.settings.process import SECRET, ProcessSettings, check_credentials, check_url
from hub.types import LogLevel
from hub.urls import REGISTRY_SCHEMES, split_url

LOCAL_GATEWAY = "http://127.0.0.1:8000"


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
            check_url("gateway_url", self.gateway_url, check_http)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClientSettings(GatewayConnectionSettings):
    """`hub call`, `hub submit`, `hub task`, `hub cancel`, `hub stream`, `hub batch`, `hub bench` and `hub client`."""

    gateway_url: Annotated[str, Parameter(help="Base URL of the gateway, http:// or https://.")] = field(
        default=LOCAL_GATEWAY, metadata=SECRET
    )
    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gateway_url:
            raise ConfigurationError("gateway_url is empty: name a gateway, such as http://127.0.0.1:8000")


def check_http(url: str) -> None:
    """Raises `ConfigurationError` if it is no URL of a server that speaks HTTP."""
    parts = split_url(url, REGISTRY_SCHEMES)
    if not parts.hostname or parts.query or "," in parts.netloc:
        raise ConfigurationError("write http://host:port or https://host:port")
