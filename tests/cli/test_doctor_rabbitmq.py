"""Each finding of `hub doctor` about a RabbitMQ that can be produced, over real servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import anyio
import pytest
from anyio import fail_after, move_on_after
from anyio.to_thread import run_sync

from hub.amqp import connect
from hub.brokers.options import BrokerOptions
from hub.brokers.topology import queue_arguments
from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.findings import Findings, Status
from hub.http.client import open_client
from hub.types import Backend, ModelName
from tests.cli.doctor import TIME_LIMIT, problems, settings, status
from tests.support.markers import starts
from tests.support.rabbitmq import RabbitMQ, delete_queues, rabbitmq
from tests.support.server import free_port

SCHEMES: Final = ("amqp", "amqp+aiormq")


@pytest.fixture(scope="module")
@starts("rabbitmq")
def own_rabbitmq() -> Iterator[RabbitMQ]:
    with rabbitmq(management=True) as server:
        yield server


async def broker(
    url: str, backend: str, *, models: Sequence[str] = (), scheme: str = "amqp", **values: Any
) -> Findings:
    used = settings("gateway", broker_url=url.replace("amqp://", f"{scheme}://"), **values)
    chosen: Backend = "trio" if backend == "trio" else "asyncio"
    with fail_after(TIME_LIMIT):
        return await check_broker(used, chosen, [ModelName(each) for each in models])


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_broker_as_it_should_be(amqp_url: str, scheme: str, anyio_backend_name: str) -> None:
    found = await broker(amqp_url, anyio_backend_name, scheme=scheme)
    for check in ("reachable", "version", "queues", "alarms"):
        assert status(found, check)[0] is Status.OK, check
    assert status(found, "version")[1].startswith("RabbitMQ ")
    assert status(found, "policies")[0] is Status.UNKNOWN
    assert "HUB_MANAGEMENT_URL" in status(found, "policies")[1]
    assert status(found, "consumer timeout")[0] is Status.UNKNOWN
    aiormq_on_trio = anyio_backend_name == "trio" and scheme != "amqp"
    assert [each.check for each in problems(found)] == (["backend"] if aiormq_on_trio else [])


async def test_the_queue_of_the_check_is_deleted(own_rabbitmq: RabbitMQ, anyio_backend_name: str) -> None:
    for queue_type in ("quorum", "classic"):
        found = await broker(own_rabbitmq.url, anyio_backend_name, queue_type=queue_type)
        assert f"{queue_type} queues can be declared" in status(found, "queues")[1]
    async with open_client() as http:
        reply = await http.get(f"{own_rabbitmq.management_url}/api/queues?disable_stats=true&enable_queue_totals=true")
    assert [each["name"] for each in reply.json() if each["name"].startswith("hub.doctor")] == []


async def test_rabbitmq_refuses_or_is_down(amqp_url: str, anyio_backend_name: str) -> None:
    wrong = await broker(amqp_url.replace("guest:guest", "guest:secret"), anyio_backend_name)
    assert "check user and password" in status(wrong, "reachable")[1]
    nowhere = await broker(amqp_url.rstrip("/") + "/nowhere", anyio_backend_name)
    assert "create the virtual host" in status(nowhere, "reachable")[1]
    down = await broker(f"amqp://ann:secret@127.0.0.1:{free_port()}", anyio_backend_name)
    assert "start RabbitMQ" in status(down, "reachable")[1]
    assert "secret" not in status(down, "reachable")[1]
    place = amqp_url.rpartition("@")[2].rstrip("/")
    partly = await broker(f"amqp://guest:guest@{place},127.0.0.1:{free_port()}/", anyio_backend_name)
    assert status(partly, "reachable")[0] is Status.WARNING
    assert status(partly, "queues")[0] is Status.OK


async def test_queues_with_other_arguments_are_named(amqp_url: str, anyio_backend_name: str) -> None:
    names = ["DoctorOne", "DoctorTwo"]
    with fail_after(TIME_LIMIT):
        async with connect(amqp_url) as connection, connection.channel() as channel:
            await channel.declare_queue(names[0], queue_arguments(BrokerOptions()))
            await channel.declare_queue(names[1], queue_arguments(BrokerOptions(delivery_limit=3)))
    try:
        found = await broker(amqp_url, anyio_backend_name, models=[*names, "DoctorNone"])
    finally:
        with move_on_after(TIME_LIMIT, shield=True):
            await run_sync(delete_queues, amqp_url, *names)
    named = [each for each in found.found if each.check == "model queues"]
    assert [each.status for each in named] == [Status.PROBLEM, Status.OK]
    assert "DoctorTwo" in named[0].message
    assert "delivery limit" in named[0].repair
    assert "1 existing queue " in named[1].message


async def test_the_management_api_without_faults(own_rabbitmq: RabbitMQ, anyio_backend_name: str) -> None:
    found = await broker(own_rabbitmq.url, anyio_backend_name, management_url=own_rabbitmq.management_url)
    assert problems(found) == []
    assert status(found, "nodes") == (Status.OK, "1 node, without alarms and partitions | ")
    assert status(found, "policies")[0] is Status.OK
    place = own_rabbitmq.management_url.replace("guest:guest@", "")
    ours = await broker(own_rabbitmq.url, anyio_backend_name, management_url=place)
    assert status(ours, "nodes")[0] is Status.OK
    wrong = await broker(own_rabbitmq.url, anyio_backend_name, management_url=place.replace("//", "//ann:secret@"))
    assert status(wrong, "management")[0] is Status.PROBLEM
    assert "401" in status(wrong, "management")[1]
    assert "secret" not in status(wrong, "management")[1]
    down = await broker(own_rabbitmq.url, anyio_backend_name, management_url=f"http://127.0.0.1:{free_port()}")
    assert "rabbitmq-plugins enable" in status(down, "management")[1]


POLICIES: Final[dict[str, tuple[str, str, dict[str, object], str, str, str]]] = {
    "ttl of all queues": ("policies", ".*", {"message-ttl": 60_000_000}, "all", "Doc", "message-ttl"),
    "length of one model": ("policies", "^Doc$", {"max-length": 10}, "queues", "Doc", "max-length"),
    "bytes of dead letters": ("policies", "dead$", {"max-length-bytes": 10}, "queues", "Doc", "Doc.dead"),
    "expiry of delay queues": ("policies", r"\.delay\.", {"expires": 10_000}, "queues", "Doc", "Doc.delay.1"),
    "of the operator": ("operator-policies", "^D", {"max-length": 10}, "queues", "Doc", "operator policy"),
    "no model is known": ("policies", "^[A-Z]", {"max-length": 10}, "queues", "", "Model"),
}
HARMLESS: Final[dict[str, tuple[str, str, dict[str, object], str]]] = {
    "other queues": ("policies", "^other", {"max-length": 10}, "queues"),
    "exchanges": ("policies", ".*", {"alternate-exchange": "x"}, "exchanges"),
    "a limit that hub can live with": ("policies", ".*", {"delivery-limit": 50}, "queues"),
}


async def put_policy(server: RabbitMQ, route: str, body: dict[str, object] | None) -> None:
    async with open_client() as http:
        url = f"{server.management_url}/api/{route}/%2F/doctor"
        reply = await (http.delete(url) if body is None else http.put(url, json=body))
        assert reply.is_success, reply.text


async def test_policies_that_remove_tasks(own_rabbitmq: RabbitMQ, anyio_backend_name: str) -> None:
    ask = partial(broker, own_rabbitmq.url, anyio_backend_name, management_url=own_rabbitmq.management_url)
    for name, (route, pattern, definition, applies, model, expected) in POLICIES.items():
        await put_policy(own_rabbitmq, route, {"pattern": pattern, "definition": definition, "apply-to": applies})
        found = await ask(models=[model] if model else [])
        await put_policy(own_rabbitmq, route, None)
        assert status(found, "policies")[0] is Status.PROBLEM, name
        assert expected in status(found, "policies")[1], name
    for name, (route, pattern, definition, applies) in HARMLESS.items():
        await put_policy(own_rabbitmq, route, {"pattern": pattern, "definition": definition, "apply-to": applies})
        found = await ask(models=["Doc"])
        await put_policy(own_rabbitmq, route, None)
        assert status(found, "policies")[0] is Status.OK, name


async def test_a_policy_that_swallows_every_message(own_rabbitmq: RabbitMQ, anyio_backend_name: str) -> None:
    await put_policy(
        own_rabbitmq, "policies", {"pattern": ".*", "definition": {"message-ttl": 0}, "apply-to": "queues"}
    )
    try:
        found = await broker(own_rabbitmq.url, anyio_backend_name)
    finally:
        with move_on_after(TIME_LIMIT, shield=True):
            await put_policy(own_rabbitmq, "policies", None)
    assert status(found, "queues")[0] is Status.PROBLEM
    assert "vanished" in status(found, "queues")[1]


async def test_a_user_without_permissions(own_rabbitmq: RabbitMQ, anyio_backend_name: str) -> None:
    async with open_client() as http:
        api = f"{own_rabbitmq.management_url}/api"
        await http.put(f"{api}/users/ann", json={"password": "pw", "tags": ""})
        await http.put(f"{api}/permissions/%2F/ann", json={"configure": "^Doc$", "write": "^Doc$", "read": ""})
    found = await broker(own_rabbitmq.url.replace("guest:guest", "ann:pw"), anyio_backend_name)
    assert status(found, "queues")[0] is Status.WARNING
    assert "hub.doctor.*" in status(found, "queues")[1]


async def until_alarm(server: RabbitMQ) -> None:
    """RabbitMQ compares its memory with the limit once in some seconds."""
    async with open_client() as http:
        while not (await http.get(f"{server.management_url}/api/nodes")).json()[0]["mem_alarm"]:
            await anyio.sleep(0.05)


def test_an_alarm_is_a_problem(own_rabbitmq: RabbitMQ) -> None:
    """One alarm for both backends: it takes seconds to begin."""
    ask = partial(broker, management_url=own_rabbitmq.management_url)
    own_rabbitmq.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        anyio.run(until_alarm, own_rabbitmq)
        both = [anyio.run(ask, own_rabbitmq.url, backend, backend=backend) for backend in ("asyncio", "trio")]
    finally:
        own_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    for found in both:
        assert status(found, "alarms")[0] is Status.PROBLEM
        assert "low on memory" in status(found, "alarms")[1]
        assert "mem_alarm" in status(found, "nodes")[1]
