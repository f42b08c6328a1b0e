"""Settings of the commands that call models."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.settings.process import SECRET, ProcessSettings, check_credentials, check_url
from hub.types import LogLevel
from hub.urls import split_url

LOCAL_GATEWAY = "http://127.0.0.1:8000"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClientSettings(ProcessSettings):
    """`hub call`, `hub submit`, `hub task`, `hub cancel`, `hub stream` and `hub batch`."""

    gateway_url: Annotated[str, Parameter(help="Base URL of the gateway, http:// or https://.")] = field(
        default=LOCAL_GATEWAY, metadata=SECRET
    )
    api_key: Annotated[str, Parameter(help="Sent with each request; one of the gateway's HUB_API_KEYS.")] = field(
        default="", metadata=SECRET
    )
    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "error"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_url("gateway_url", self.gateway_url, _check_gateway)
        check_credentials("api_key", [self.api_key])


def _check_gateway(url: str) -> None:
    parts = split_url(url, ("http", "https"))
    if not parts.hostname or parts.query or "," in parts.netloc:
        raise ConfigurationError("write http://host:port or https://host:port")
