"""Settings of a model instance."""

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.http.serve.listen import ListenAddress
from hub.settings.connections import BrokerSettings, RegistryConnectionSettings, StoreSettings
from hub.settings.process import ABOVE_0, FROM_0, MetricSettings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelSettings(StoreSettings, BrokerSettings, RegistryConnectionSettings, MetricSettings):
    """A process that runs an instance of a model."""

    instance_host: Annotated[str, Parameter(help="Address that the instance answers pings on.")] = "127.0.0.1"
    instance_port: Annotated[int, Parameter(help="Port of the instance; 0 takes a free one.")] = 0
    advertise_host: Annotated[
        str, Parameter(help="Name or address under which the registry reaches the instance; empty: --instance-host.")
    ] = ""
    ping_period: Annotated[
        float, Parameter(help="The registry's ping period; after three without a ping the instance logs in again.")
    ] = field(default=10.0, metadata=ABOVE_0)
    drain_grace: Annotated[float, Parameter(help="Seconds that running tasks have to finish at shutdown.")] = field(
        default=30.0, metadata=FROM_0
    )
    attempt_limit: Annotated[
        int, Parameter(help="Runs of one task that may be interrupted by a dying instance; then the task is dead.")
    ] = 5
    result_limit: Annotated[
        int, Parameter(help="Maximum bytes of a response or a chunk; a larger one fails its task. 0: Redis's limit.")
    ] = 16 * 1024 * 1024
    stream_limit: Annotated[
        int, Parameter(help="Maximum bytes of all chunks of a stream; a longer one fails its task. 0: no limit.")
    ] = 64 * 1024 * 1024
    debug: Annotated[bool, Parameter(help="Store tracebacks of failed tasks with their outcome.")] = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attempt_limit < 1:
            raise ConfigurationError(f"attempt_limit is {self.attempt_limit}; a task needs at least 1 attempt")
        if self.result_limit < 0:
            raise ConfigurationError(f"result_limit is {self.result_limit}; use 0 for no limit, or a number of bytes")
        if self.stream_limit < 0:
            raise ConfigurationError(f"stream_limit is {self.stream_limit}; use 0 for no limit, or a number of bytes")

    @property
    def instance_bind(self) -> ListenAddress:
        return self.bind(
            self.instance_host,
            self.instance_port,
            what="instance",
            guarded=bool(self.token),
            repair="set HUB_TOKEN here and on the registry",
        )
