"""Settings of `hub up`: registry, gateway and models in one process."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from hub.settings.connections import MEMORY
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.process import SECRET
from hub.settings.registry import RegistrySettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UpSettings(RegistrySettings, GatewaySettings, ModelSettings):
    """All components in one process; the defaults need no servers."""

    broker_url: Annotated[str, Parameter(help="memory://, or a RabbitMQ as in the other commands.")] = field(
        default=MEMORY, metadata=SECRET
    )
    store_url: Annotated[str, Parameter(help="memory://, or a Redis as in the other commands.")] = field(
        default=MEMORY, metadata=SECRET
    )
    directory_url: Annotated[str, Parameter(help="memory://, or a Redis as in the other commands.")] = field(
        default=MEMORY, metadata=SECRET
    )
