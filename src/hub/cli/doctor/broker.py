"""Checks of RabbitMQ over AMQP: the connection, the version, a queue that is declared, used and deleted, alarms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from anyio import move_on_after

from hub.amqp import AmqpAddress, AmqpConnection, AmqpOptions, ChannelClosed, Message, Route, connect
from hub.amqp.alarm import PROBE_KEY
from hub.amqp.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED
from hub.amqp.nodes import node_urls
from hub.brokers.options import BrokerOptions, QueueType
from hub.brokers.topology import arguments_mismatch, permission_denied, queue_arguments
from hub.cli.doctor.findings import Findings
from hub.cli.doctor.management import check_management
from hub.cli.resources import broker_options
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused, PublishRefused
from hub.observability.redaction import redacted_url
from hub.settings.connections import MEMORY
from hub.settings.tools import DoctorSettings
from hub.types import OWN_PREFIX, Backend, ModelName
from hub.urls import BROKER_SCHEMES, split_url

OLDEST: Final = (3, 10)
"""The oldest version of RabbitMQ that hub is tested with."""

TIMEOUT: Final = 20.0
"""Seconds for all checks of one node: the first quorum queue of a busy cluster takes some."""

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for the way to a node, and again for the login."""

CONFIRM_TIMEOUT: Final = 3.0
"""Seconds for the confirm of one small message; a broker with an alarm never sends it."""

DELIVERY_TIMEOUT: Final = 3.0
"""Seconds until that message comes back from the queue."""

QUEUES: Final = 100
"""Queues of models that are compared with the settings at most."""

PROBE_LIFETIME: Final = 60_000
"""Milliseconds after which RabbitMQ deletes the queue of the test, if the command could not."""

_AIORMQ: Final = "+aiormq"
_AIORMQ_FILES: Final = {"cafile": "cacertfile", "certfile": "certfile", "keyfile": "keyfile"}


async def check_broker(settings: DoctorSettings, backend: Backend, models: Sequence[ModelName]) -> Findings:
    """Checks the broker of the settings.

    Args:
        settings: Those of the command.
        backend: The event loop that hub's processes are to run on.
        models: Models whose queues are compared with the settings, if they exist.
    """
    findings = Findings("broker")
    if settings.broker_url.startswith(MEMORY):
        findings.ok("reachable", f"{MEMORY}: in the process of `hub up`, lost when it ends")
        return findings
    if _AIORMQ in settings.broker_url.partition("://")[0] and backend != "asyncio":
        findings.problem(
            "backend", "aiormq runs on asyncio only", f"write amqp:// without {_AIORMQ}, or --backend asyncio"
        )
    addresses = [_address(url) for url in node_urls(settings.broker_url)]
    lost: list[ConnectionLost] = []
    versions: set[str] = set()
    for address in addresses:
        try:
            with connection_timeout(address.server, TIMEOUT):
                async with _connection(address) as connection:
                    first, version = not versions, str(connection.server_properties.get("version", ""))
                    versions.add(version)
                    findings.ok("reachable", f"{address.server} accepts the credentials")
                    if first:
                        _check_version(findings, str(connection.server_properties.get("product", "")), version)
                        await _check_queues(findings, connection, address, broker_options(settings), models)
        except ConnectionLost as error:
            lost.append(error)
        except ConfigurationError as error:
            findings.problem("reachable", str(error), "correct HUB_BROKER_URL")
    _report_lost(findings, lost, redacted_url(settings.broker_url), some=bool(versions))
    if len(versions) > 1:
        findings.warning("version", f"the nodes have versions {', '.join(sorted(versions))}", "finish the upgrade")
    if versions:
        await check_management(findings, settings, addresses[0], models)
    return findings


def _address(url: str) -> AmqpAddress:
    """The address of one node, for hub's own driver; the names of aiormq's options for TLS differ."""
    parts = split_url(url, BROKER_SCHEMES)
    if parts.scheme.endswith(_AIORMQ):
        query = {name: value for name, value in parse_qsl(parts.query) if name in _AIORMQ_FILES}
        renamed = urlencode({_AIORMQ_FILES[name]: value for name, value in query.items()})
        parts = parts._replace(scheme=parts.scheme.removesuffix(_AIORMQ), query=renamed)
    return AmqpAddress.parse(parts.geturl())


def _report_lost(findings: Findings, lost: Sequence[ConnectionLost], url: str, *, some: bool) -> None:
    for error in lost:
        text = f"{error.server} is out of reach: {error.reason}"
        if isinstance(error, ConnectionRefused):
            findings.problem("reachable", f"{error.server} refuses the connection", f"{error.reason} (HUB_BROKER_URL)")
        elif some:
            findings.warning("reachable", text, "start this node, or remove it from HUB_BROKER_URL")
        else:
            findings.problem("reachable", text, f"start RabbitMQ, or correct HUB_BROKER_URL={url}")


def _check_version(findings: Findings, product: str, version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    oldest = ".".join(map(str, OLDEST))
    if product != "RabbitMQ":
        findings.warning(
            "version", f"the server is {product or 'unknown'} {version}", f"use RabbitMQ {oldest} or later"
        )
    elif numbers < OLDEST:
        findings.problem("version", f"RabbitMQ {version}", f"upgrade it: hub is tested with {oldest} and later")
    else:
        findings.ok("version", f"RabbitMQ {version}")


async def _check_queues(
    findings: Findings,
    connection: AmqpConnection,
    address: AmqpAddress,
    options: BrokerOptions,
    models: Sequence[ModelName],
) -> None:
    name = f"{OWN_PREFIX}doctor.{uuid4().hex[:12]}"
    kind = options.queue_type.value
    try:
        async with connection.channel() as channel:
            await channel.declare_queue(name, queue_arguments(options) | {"x-expires": PROBE_LIFETIME})
    except ChannelClosed as closed:
        if closed.reply_code == ACCESS_REFUSED:
            findings.warning(
                "queues",
                f"the user may not declare {OWN_PREFIX}doctor.*, so nothing is known about queues: {closed.reply_text}",
                "give it permissions for the queues of models, *.dead, *.delay.*, hub.dead, and hub.doctor.* for this test",
            )
        elif options.queue_type is QueueType.QUORUM:
            findings.problem(
                "queues", f"no {kind} queue: {closed.reply_text}", "set HUB_QUEUE_TYPE=classic, or upgrade"
            )
        else:
            findings.problem("queues", f"no {kind} queue: {closed.reply_text}", "set HUB_QUEUE_TYPE=quorum")
    else:
        await _check_message(findings, connection, address, name, kind)
    await _check_models(findings, connection, options, models[:QUEUES])


async def _check_message(
    findings: Findings, connection: AmqpConnection, address: AmqpAddress, name: str, kind: str
) -> None:
    """Sends a message through the queue of the test, and deletes the queue.

    It is published on a connection of its own: RabbitMQ does not read any more from one that publishes during an alarm.
    """
    async with connection.channel() as channel:
        try:
            confirmed, blocked = await _published(address, name)
            if confirmed is None:
                _report_unconfirmed(findings, blocked)
                return
            findings.ok("alarms", "it accepts messages: there is no memory or disk alarm")
            if confirmed[0] is not None:
                repair = "look for policies that match every queue: rabbitmqctl list_policies"
                findings.problem("queues", f"a new queue refuses its first message: {confirmed[0]}", repair)
                return
            delivered = False
            with move_on_after(DELIVERY_TIMEOUT):
                async with channel.consume(name, prefetch=1) as consumer:
                    consumer.ack(each.tag for each in await consumer.receive())
                    delivered = True
            if delivered:
                findings.ok("queues", f"{kind} queues can be declared and used")
            else:
                repair = "look for policies that match every queue (rabbitmqctl list_policies), such as a message-ttl"
                findings.problem("queues", f"a message vanished from a new {kind} queue", repair)
        finally:
            with move_on_after(CONFIRM_TIMEOUT, shield=True):
                await channel.delete_queue(name)


async def _published(address: AmqpAddress, name: str) -> tuple[Sequence[PublishRefused | None] | None, str | None]:
    """The confirm of one message for a queue, `None` if there was none in time; and why the broker accepts no messages."""
    routes = Route(routing_key=name), Route(routing_key=PROBE_KEY, mandatory=False)
    message, probe = (Message(route=route, body=b"", message_id=name, timestamp=0) for route in routes)
    confirmed: Sequence[PublishRefused | None] | None = None
    async with _connection(address) as connection, connection.publisher() as publisher:
        with move_on_after(CONFIRM_TIMEOUT) as scope:
            confirmed = await publisher.publish([message])
            # An alarm is reported after the first message of a connection, which is still accepted; the next one is not.
            await publisher.publish([probe])
        return None if scope.cancelled_caught else confirmed, connection.blocked


def _connection(address: AmqpAddress) -> AbstractAsyncContextManager[AmqpConnection]:
    return connect(address, AmqpOptions(connection_name="hub doctor", connect_timeout=CONNECT_TIMEOUT))


def _report_unconfirmed(findings: Findings, blocked: str | None) -> None:
    if blocked is None:
        why = f"a message was not confirmed within {CONFIRM_TIMEOUT:g} s"
        findings.problem("alarms", why, "look at the load and the log of RabbitMQ: rabbitmq-diagnostics status")
        return
    findings.problem(
        "alarms",
        f"it accepts no messages: {blocked}",
        "free memory or disk on its machine, or raise vm_memory_high_watermark or disk_free_limit: rabbitmq-diagnostics alarms",
    )


async def _check_models(
    findings: Findings, connection: AmqpConnection, options: BrokerOptions, models: Sequence[ModelName]
) -> None:
    """Compares the queues that exist with the settings: a declaration with the same arguments changes nothing."""
    same = 0
    for model in models:
        try:
            async with connection.channel() as channel:
                await channel.inspect_queue(model)
                await channel.declare_queue(model, queue_arguments(options))
                same += 1
        except ChannelClosed as closed:
            if closed.reply_code == PRECONDITION_FAILED:
                text, _, repair = str(arguments_mismatch(model, closed.reply_text)).rpartition("): ")
                findings.problem("model queues", f"{text})", repair)
            elif closed.reply_code == ACCESS_REFUSED:
                text, _, repair = str(permission_denied(model, closed.reply_text)).rpartition("): ")
                findings.problem("model queues", f"{text})", repair)
            elif closed.reply_code != NOT_FOUND:
                raise
    if same:
        findings.ok(
            "model queues", f"{same} existing queue{'s' if same > 1 else ''} with the arguments of these settings"
        )
