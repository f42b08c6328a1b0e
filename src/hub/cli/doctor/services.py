"""Checks of the registry and of the gateway, and of the ports that they listen on."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import msgspec
from httpx2 import AsyncClient, HTTPError, InvalidURL, Response

from hub.cli.doctor.clock import compare_clocks
from hub.cli.doctor.findings import Findings
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused
from hub.gateway.schemas import GatewayHealthBody
from hub.http.serve.listen import ListenAddress
from hub.observability.redaction import redacted, redacted_url
from hub.registry.client.client import RegistryClient
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.schemas import HealthBody
from hub.safe_text import UNREADABLE_JSON
from hub.types import ModelName, WallClock, reserved

TIMEOUT: Final = 8.0
"""Seconds for all requests to one server."""

LOOK: Final = 2.0
"""Seconds for the question which program holds a port of this machine."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_UNAUTHORIZED: Final = (401, 403)
_Body = TypeVar("_Body")


class _Live(msgspec.Struct):
    """The reply of `/health/live`: of a gateway `live`, of a registry `status`."""

    live: bool = False
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port that a component is going to listen on.

    Attributes:
        what: `registry`, `gateway`, `dashboard` or `instance`.
        setting: The setting with the port.
        needed: Whether the component ends when the port is taken.
    """

    what: str
    setting: str
    address: ListenAddress
    needed: bool = True

    @property
    def url(self) -> str:
        """The URL for requests from this machine."""
        host = _EVERYWHERE.get(self.address.host, self.address.host)
        return f"{self.address.scheme}://{f'[{host}]' if ':' in host else host}:{self.address.port}"


async def check_ports(http: AsyncClient, listeners: Sequence[Listener]) -> tuple[Findings, dict[str, str]]:
    """Whether each port is free, or held by hub.

    Returns:
        The findings, and the URLs of what runs already, by `Listener.what`.
    """
    findings, running = Findings("ports"), dict[str, str]()
    for each in listeners:
        where = f"{each.address.host}:{each.address.port}"
        variable = f"HUB_{each.setting.upper()}"
        if each.address.port == 0:
            findings.ok(each.what, f"the {each.what} takes any free port")
            continue
        try:
            each.address.open().close()
        except ConfigurationError as error:
            taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not taken:
                findings.problem(each.what, str(error), f"correct {variable}, or HUB_{each.what.upper()}_HOST")
            elif holder := await _holder(http, each.url):
                running[each.what] = each.url
                findings.ok(each.what, f"{where} ({each.what}) is held by a {holder} of hub that runs")
            elif each.needed:
                findings.problem(
                    each.what,
                    f"{where} ({each.what}) is held by another program",
                    f"end it, or set {variable} to another port",
                )
            else:
                findings.warning(
                    each.what,
                    f"{where} ({each.what}) is held by another program; hub serves it at / of the gateway only",
                    f"end it, or set {variable} to another port, or to 0 for none",
                )
        else:
            findings.ok(each.what, f"{where} ({each.what}) is free")
    return findings, running


async def check_registry(
    http: AsyncClient, url: str, token: str, clock: WallClock
) -> tuple[Findings, Sequence[ModelName]]:
    """Checks the registry at `url`.

    Returns:
        The findings, and the names of the models that it knows.
    """
    findings = Findings("registry")
    server = f"registry {redacted_url(url)}"
    names: list[ModelName] = []
    client = RegistryClient(url, http, token=token)
    try:
        with connection_timeout(server, TIMEOUT):
            listed = (await client.listed_models()).models
            names = [ModelName(each.name) for each in listed if not reserved(each.name)]
            response, ours = await _timed(http, f"{url}/health/ready", server, clock)
    except ConnectionRefused as refused:
        findings.problem("reachable", f"{server} refuses the connection", f"{refused.reason} (HUB_REGISTRY_URL)")
        return findings, names
    except ConnectionLost as lost:
        repair = f"start it (hub registry), or correct HUB_REGISTRY_URL={redacted_url(url)}"
        findings.problem("reachable", f"{server} is out of reach: {lost.reason}", repair)
        return findings, names
    except RegistryRefused as refused:
        findings.problem("reachable", f"{server} is no registry of hub: {refused}", "correct HUB_REGISTRY_URL")
        return findings, names
    live = sum(each.active for each in listed)
    findings.ok("reachable", f"{server} accepts the token; it knows {len(listed)} models, {live} of them are up")
    body = _decoded(response, HealthBody)
    if body is not None and body.status != "ok":
        what = body.reason or f"out of its reach: {', '.join(body.out_of_reach)}"
        findings.warning(
            "health", f"it is {body.status}: {what}", "check the servers of the registry, with `hub doctor registry`"
        )
    elif body is not None:
        findings.ok("health", "it reaches its directory and its broker")
    if theirs := _date(response):
        compare_clocks(findings, "the registry", theirs, ours)
    else:
        findings.unknown("clock", "its replies have no date", "synchronize the clocks of all machines (NTP)")
    return findings, names


async def check_gateway(http: AsyncClient, url: str, api_key: str) -> Findings:
    """Checks the gateway at `url`."""
    findings = Findings("gateway")
    server = f"gateway {redacted_url(url)}"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with connection_timeout(server, TIMEOUT):
            health = await get(http, f"{url}/health/ready", server)
            models = await get(http, f"{url}/v1/models", server, headers)
    except ConnectionLost as lost:
        repair = f"start it (hub gateway), or correct HUB_GATEWAY_URL={redacted_url(url)}"
        findings.problem("reachable", f"{server} is out of reach: {lost.reason}", repair)
        return findings
    body = _decoded(health, GatewayHealthBody)
    if body is None:
        findings.problem("reachable", f"{server} is no gateway of hub", "correct HUB_GATEWAY_URL")
        return findings
    if models.status_code in _UNAUTHORIZED:
        repair = "set HUB_API_KEY to one of its HUB_API_KEYS"
        findings.problem("key", f"{server} does not accept the key ({models.status_code})", repair)
    else:
        findings.ok("reachable", f"{server} answers")
    if body.ready:
        findings.ok("health", "it accepts tasks")
    else:
        findings.problem(
            "health", f"it accepts no tasks: {'; '.join(body.reasons)}", "mend what it names; it goes on by itself"
        )
    return findings


async def get(http: AsyncClient, url: str, server: str, headers: dict[str, str] | None = None) -> Response:
    """The reply to a GET request, of any status.

    Raises:
        ConnectionLost: There is none.
    """
    try:
        with collapse_exception_group():
            return await http.get(url, headers=headers)
    except (HTTPError, InvalidURL) as error:
        raise ConnectionLost(server, redacted(str(error)) or type(error).__name__) from error


async def _timed(http: AsyncClient, url: str, server: str, clock: WallClock) -> tuple[Response, float]:
    """A reply, and our time in the middle of its request."""
    before = clock()
    response = await get(http, url, server)
    return response, (before + clock()) / 2


async def _holder(http: AsyncClient, url: str) -> str:
    """The component of hub that listens at a URL; empty if it is another program."""
    try:
        with connection_timeout(url, LOOK):
            response = await get(http, f"{url}/health/live", url)
    except ConnectionLost:
        return ""
    body = _decoded(response, _Live)
    if body is None or not response.is_success:
        return ""
    return "gateway" if body.live else "registry" if body.status else ""


def _decoded(response: Response, kind: type[_Body]) -> _Body | None:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except UNREADABLE_JSON:
        return None


def _date(response: Response) -> float | None:
    """The `Date` header (RFC 9110, section 6.6.1), in the middle of its second."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", "")).timestamp() + 0.5
    except ValueError:
        return None
