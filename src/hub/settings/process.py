"""Settings of all processes, and of HTTP servers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isnan
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from typing_extensions import override

from hub.errors import ConfigurationError
from hub.histogram import SECONDS, parse_buckets
from hub.http.middleware.hosts import Hosts, hosts_of
from hub.http.serve.client import ConnectionLimits
from hub.http.serve.listen import ListenAddress
from hub.http.serve.request_parser import HEAD_LIMIT
from hub.observability.redaction import redacted_url
from hub.types import Backend, LogFormat, LogLevel
from hub.urls import LARGEST_PORT

SMALLEST_HEAD_LIMIT = 4096
"""Bytes: the headers of a browser, with some cookies of other servers on the same host."""

SECRET = {"secret": True}

FROM_0 = {"least": 0}
FROM_1 = {"least": 1}
ABOVE_0 = {"above": 0}
"""Metadata of fields: the lower bounds of numbers, which `ProcessSettings` checks."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Settings of all processes."""

    backend: Annotated[Backend, Parameter(help="The event loop to run on.")] = "asyncio"
    log_level: Annotated[LogLevel, Parameter(help="Least severe log lines to show.")] = "info"
    log_format: Annotated[LogFormat, Parameter(help="Text for a console, or one JSON object per line.")] = "console"
    token: Annotated[str, Parameter(help="Token of the routes of registry and instances; needed beyond loopback.")] = (
        field(default="", metadata=SECRET)
    )
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
        """Refuses invalid values; each class checks its own settings and calls the next class.

        Raises:
            ConfigurationError: Names the setting, its value and the repair.
        """
        for each in fields(self):
            _check_number(each.name, getattr(self, each.name), each.metadata)
            if each.name.endswith("_port") and not 0 <= (port := getattr(self, each.name)) <= LARGEST_PORT:
                zero = "for none" if each.name == "dashboard_port" else "for any that is free"
                raise ConfigurationError(
                    f"{each.name} is {port}; a port is a number from 1 to {LARGEST_PORT}, 0 {zero}"
                )
        check_credentials("token", [self.token])
        _ = self.hosts

    @property
    def hosts(self) -> Hosts:
        """The names of `allowed_hosts`.

        Raises:
            ConfigurationError: One of them is not a host name.
        """
        return hosts_of(self.allowed_hosts)

    def bind(self, host: str, port: int, *, what: str, guarded: bool, repair: str) -> ListenAddress:
        """The address of a server.

        Raises:
            ConfigurationError: The address can be reached from other machines, without credentials.
        """
        bind = ListenAddress(host=host, port=port, certificate=self.tls_certificate, key=self.tls_key)
        if not guarded and not bind.loopback:
            raise ConfigurationError(
                f"the {what} would listen on {host}, which other machines can reach, without credentials: "
                f"{repair}, or listen on 127.0.0.1"
            )
        return bind


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StartSettings(ProcessSettings):
    """Settings of the start of a process that runs until a signal."""

    start_timeout: Annotated[
        float,
        Parameter(
            help="Seconds to retry each server that is needed at the start, one after the other; then exit code 3."
        ),
    ] = 60.0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_timeout < 0:
            raise ConfigurationError(
                f"start_timeout is {self.start_timeout:g} s; use 0 for one attempt, or a positive time"
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HttpSettings(StartSettings):
    """Limits of an HTTP server for its clients."""

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
    def bind(self, host: str, port: int, *, what: str, guarded: bool, repair: str) -> ListenAddress:
        limits = ConnectionLimits(
            head_limit=self.head_limit,
            request_timeout=self.request_timeout,
            connection_limit=self.connection_limit,
        )
        return replace(super().bind(host, port, what=what, guarded=guarded, repair=repair), limits=limits)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricSettings(HttpSettings):
    """Buckets of histograms of times."""

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
            ConfigurationError: They are not times, or not increasing.
        """
        return parse_buckets(self.metric_buckets)


def _check_number(name: str, value: object, bounds: Mapping[Any, Any]) -> None:
    if not isinstance(value, int | float):
        return
    if isnan(value):
        raise ConfigurationError(f"{name} is nan; write a number")
    if "least" in bounds and value < bounds["least"]:
        raise ConfigurationError(f"{name} is {value:g}; it must be at least {bounds['least']}")
    if "above" in bounds and value <= bounds["above"]:
        raise ConfigurationError(f"{name} is {value:g} s; it must be a time above {bounds['above']}")


def check_credentials(name: str, values: Sequence[str]) -> None:
    """Refuses values that HTTP headers cannot transport unchanged."""
    wrong = next((character for value in values for character in value if not " " <= character <= "~"), None)
    if wrong is not None:
        raise ConfigurationError(
            f"{name} has the character {wrong!a}, which HTTP headers cannot contain: write it in visible ASCII, "
            "such as the output of `openssl rand -hex 24`"
        )
    if any(value != value.strip() for value in values):
        raise ConfigurationError(f"{name} begins or ends with a blank, which HTTP removes: write it without")


def check_url(name: str, url: str, check: Callable[[str], object]) -> None:
    try:
        check(url)
    except ConfigurationError as error:
        shown = repr(redacted_url(url))
        text = str(error) if shown in str(error) else f"{shown}: {error}"
        raise ConfigurationError(f"{name} cannot work (HUB_{name.upper()}): {text}") from error
