"""Settings of commands that show a running hub: `hub top` and `hub doctor`."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.settings.client import GatewayConnectionSettings, check_http
from hub.settings.connections import RegistryConnectionSettings
from hub.settings.process import SECRET, check_url
from hub.settings.up import UpSettings
from hub.types import LogLevel


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
            check_url("management_url", self.management_url, check_http)
