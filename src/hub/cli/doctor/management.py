"""What RabbitMQ tells by its management API only: policies, and the state of all nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec
from httpx2 import AsyncClient, BasicAuth, HTTPError, InvalidURL, Response

from hub.amqp import AmqpAddress
from hub.cli.doctor.findings import Findings
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost
from hub.http.client import open_client
from hub.observability.redaction import redacted, redacted_url
from hub.safe_text import UNREADABLE_JSON
from hub.settings.tools import DoctorSettings
from hub.types import ModelName, dead_letter_queue, delayed_queue

TIMEOUT: Final = 10.0
"""Seconds for all requests."""

LOSING: Final = {
    "message-ttl": "removes tasks that wait for longer",
    "expires": "deletes queues that are not used for a while, with their tasks",
    "max-length": "removes the oldest task, or refuses a new one, when the queue is full",
    "max-length-bytes": "removes the oldest task, or refuses a new one, when the queue is full",
}
"""Keys of policies with which RabbitMQ itself removes messages; all with their effect. Source: RabbitMQ, "Policies"."""

_QUEUE_KINDS: Final = ("all", "queues", "classic_queues", "quorum_queues")
_SAMPLE: Final = ModelName("Model")
"""Stands for the models, if none is known."""

_NO_URL: Final = "set HUB_MANAGEMENT_URL (http://user:password@host:15672), or run: "
_Body = TypeVar("_Body")


class _QueuePolicy(msgspec.Struct, rename={"apply_to": "apply-to"}):
    name: str
    pattern: str
    definition: dict[str, object]
    apply_to: str = "all"


class _Node(msgspec.Struct):
    name: str
    running: bool = False
    mem_alarm: bool = False
    disk_free_alarm: bool = False
    partitions: tuple[str, ...] = ()


class ManagementRefused(Exception):
    """The API answered with a status other than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def check_management(
    findings: Findings, settings: DoctorSettings, address: AmqpAddress, models: Sequence[ModelName]
) -> None:
    """Adds what the management API tells, or that it is unknown.

    Args:
        findings: Those about the broker.
        settings: Those of the command.
        address: Of the broker: user, password and virtual host.
        models: Models whose queues the policies are compared with.
    """
    limit = f"hub ends each run before {settings.consumer_timeout:g} s (HUB_CONSUMER_TIMEOUT)"
    findings.unknown(
        "consumer timeout",
        f"RabbitMQ's consumer_timeout is not in its APIs; {limit}",
        "compare: rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' (milliseconds)",
    )
    if not settings.management_url:
        findings.unknown(
            "policies", "policies that remove tasks are not looked for", f"{_NO_URL}rabbitmqctl list_policies"
        )
        return
    server = f"the management API {redacted_url(settings.management_url)}"
    try:
        with connection_timeout(server, TIMEOUT):
            async with open_client() as http:
                await _check(findings, _Api(http, settings.management_url, address, server), models, settings)
    except ManagementRefused as refused:
        repair = "check user and password in HUB_MANAGEMENT_URL; the user needs the tag monitoring"
        findings.problem("management", f"{server} answers {refused.status}", repair)
    except ConnectionLost as lost:
        repair = "enable it (rabbitmq-plugins enable rabbitmq_management), or correct HUB_MANAGEMENT_URL"
        findings.problem("management", f"{server} is out of reach: {lost.reason}", repair)


class _Api:
    """GET requests to the management API."""

    def __init__(self, http: AsyncClient, url: str, address: AmqpAddress, server: str) -> None:
        parts = urlsplit(url)
        user = address.user if parts.username is None else unquote(parts.username)
        password = address.password if parts.password is None else unquote(parts.password)
        self._http = http
        self._base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._auth = BasicAuth(user, password)
        self._server = server
        self.vhost = quote(address.vhost, safe="")

    async def get(self, path: str, kind: type[_Body]) -> _Body:
        """The reply of a route.

        Raises:
            ManagementRefused: It is an error.
            ConnectionLost: There is none, or not such a document.
        """
        try:
            with collapse_exception_group():
                response: Response = await self._http.get(f"{self._base}/api/{path}", auth=self._auth)
        except (HTTPError, InvalidURL) as error:
            raise ConnectionLost(self._server, redacted(str(error)) or type(error).__name__) from error
        if not response.is_success:
            raise ManagementRefused(response.status_code)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except UNREADABLE_JSON as error:
            raise ConnectionLost(self._server, f"its reply cannot be read: {error}") from error


async def _check(findings: Findings, api: _Api, models: Sequence[ModelName], settings: DoctorSettings) -> None:
    nodes = await api.get("nodes", tuple[_Node, ...])
    for node in nodes:
        if not node.running:
            findings.warning(
                "nodes", f"node {node.name} does not run", "start it: without it the queues have fewer copies"
            )
        if alarms := [name for name in ("mem_alarm", "disk_free_alarm") if getattr(node, name)]:
            repair = "free memory or disk on its machine: until then the cluster accepts no tasks"
            findings.problem("nodes", f"node {node.name} has {' and '.join(alarms)}", repair)
        if node.partitions:
            repair = "mend the network, then restart the nodes of the smaller part"
            findings.problem("nodes", f"node {node.name} is cut off from {', '.join(node.partitions)}", repair)
    if not any(finding.check == "nodes" for finding in findings.found):
        findings.ok("nodes", f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, without alarms and partitions")
    count = 0
    for route, what in (("policies", "policy"), ("operator-policies", "operator policy")):
        for policy in await api.get(f"{route}/{api.vhost}", tuple[_QueuePolicy, ...]):
            count += _check_policy(findings, policy, what, models or [_SAMPLE], settings)
    if not count:
        findings.ok("policies", "no policy removes tasks from the queues of models")


def _check_policy(
    findings: Findings, policy: _QueuePolicy, what: str, models: Sequence[ModelName], settings: DoctorSettings
) -> int:
    """Returns how many findings were added."""
    hit = _matching(policy, models) if policy.apply_to in _QUEUE_KINDS else ""
    if not hit:
        return 0
    count = 0
    name = f"{what} {policy.name!r} ({policy.pattern!r})"
    for key, effect in LOSING.items():
        if key in policy.definition:
            count += 1
            repair = f"narrow its pattern, or remove {key}: hub bounds queues itself (HUB_QUEUE_LIMIT) and tasks by deadlines"
            findings.problem(
                "policies", f"{name} matches queue {hit!r}: {key} {policy.definition[key]} {effect}", repair
            )
    timeout = policy.definition.get("consumer-timeout")
    if isinstance(timeout, int) and timeout < settings.consumer_timeout * 1000:
        count += 1
        findings.problem(
            "consumer timeout",
            f"{name} has consumer-timeout {timeout} ms, below HUB_CONSUMER_TIMEOUT ({settings.consumer_timeout:g} s)",
            f"set HUB_CONSUMER_TIMEOUT={timeout / 1000:g} for the instances, or raise that of the policy",
        )
    return count


def _matching(policy: _QueuePolicy, models: Sequence[ModelName]) -> str:
    """The first queue that a policy applies to; empty if there is none."""
    try:
        pattern = re.compile(policy.pattern)
    except re.error:  # Erlang's expressions have forms that Python's do not have
        return ""
    queues = (queue for model in models for queue in (model, dead_letter_queue(model), delayed_queue(model, 1)))
    return next((queue for queue in queues if pattern.search(queue)), "")
