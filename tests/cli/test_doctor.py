"""Each finding of `hub doctor` that can be produced, over real servers and embedded."""

from __future__ import annotations

import re
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio import fail_after, move_on_after
from anyio.to_thread import run_sync
from redis import client

from examples.model_a import ModelA
from hub.amqp import connect
from hub.brokers.options import BrokerOptions
from hub.brokers.topology import queue_arguments
from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.commands import as_json, finding_text, summary
from hub.cli.doctor.examination import Component, examine, settings_of
from hub.cli.doctor.findings import Finding, Findings, Status
from hub.cli.doctor.redis import check_redis
from hub.cli.up import UpSummary, run_up
from hub.http.client import open_client
from hub.settings.tools import DoctorSettings
from hub.settings.up import UpSettings
from hub.types import Backend, ModelName, wall_clock
from tests.registry.fixtures import served_registry
from tests.support.markers import starts
from tests.support.rabbitmq import RabbitMQ, delete_queues, rabbitmq
from tests.support.redis import Redis, redis
from tests.support.server import free_port

TIME_LIMIT: Final = 60.0
SCHEMES: Final = ("amqp", "amqp+aiormq")
CLIENTS: Final = ("redis", "redis+redispy")
HOUR: Final = 3600.0


def status(findings: Findings | Sequence[Finding], check: str, area: str = "") -> tuple[Status, str]:
    """The worst finding of a check, and its message and repair in one text."""
    found = findings.found if isinstance(findings, Findings) else findings
    order = [Status.OK, Status.UNKNOWN, Status.WARNING, Status.PROBLEM]
    chosen = [each for each in found if each.check == check and area in ("", each.area)]
    assert chosen, f"no finding about {check} in {found}"
    worst = max(chosen, key=lambda each: order.index(each.status))
    assert worst.repair or worst.status is Status.OK, f"{worst} names no repair"
    return worst.status, f"{worst.message} | {worst.repair}"


def problems(findings: Findings | Sequence[Finding]) -> list[Finding]:
    found = findings.found if isinstance(findings, Findings) else findings
    return [each for each in found if each.status is Status.PROBLEM]


def settings(component: Component = "up", **values: Any) -> DoctorSettings:
    ports = {"gateway_port": 0, "registry_port": 0, "dashboard_port": 0}
    given = ports | values
    return settings_of(component, DoctorSettings(**given), dict.fromkeys(given, "command line"))


async def examined(component: Component = "up", *, shift: float = 0.0, **values: Any) -> list[Finding]:
    given = {"gateway_port": 0, "registry_port": 0, "dashboard_port": 0} | values
    with fail_after(TIME_LIMIT):
        return await examine(
            component,
            settings(component, **values),
            dict.fromkeys(given, "command line"),
            clock=lambda: wall_clock() + shift,
        )


# Embedded


async def test_an_embedded_hub_has_no_problems() -> None:
    found = await examined()
    assert {each.status for each in found} == {Status.OK}
    assert {each.area for each in found} == {"process", "settings", "ports", "broker", "store", "directory"}
    assert status(found, "python")[1].startswith("CPython 3.")


def test_defaults_are_those_of_the_component() -> None:
    given = DoctorSettings(store_url="redis://h/1")
    for_gateway = settings_of("gateway", given, {"store_url": "environment HUB_STORE_URL"})
    assert for_gateway.broker_url.startswith("amqp://")
    assert for_gateway.store_url == "redis://h/1"
    assert settings_of("up", given, {"store_url": "x"}).broker_url == "memory://"


def test_every_finding_has_its_lines_and_its_place_in_the_document() -> None:
    found = [
        Finding(area="broker", check="alarms", status=Status.PROBLEM, message="low on [memory]", repair="buy some"),
        Finding(area="store", check="memory", status=Status.OK, message="1 MiB"),
        Finding(area="store", check="eviction", status=Status.WARNING, message="m", repair="r"),
    ]
    assert finding_text(found[0]).plain.splitlines() == [
        "broker    problem   low on [memory]",
        "                    repair: buy some",
    ]
    assert summary(found) == "1 problem, 1 warning"
    assert summary(found[1:2]) == "no problems"
    assert as_json("up", found, [])["ok"] is False
    assert as_json("up", found[1:], [])["ok"] is True


# Ports and settings


@pytest.fixture
def taken() -> Generator[int]:
    """A port of another program, which accepts connections and sends nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


async def test_ports_are_free_or_held_by_another_program(taken: int) -> None:
    found = await examined(gateway_port=taken, registry_port=free_port())
    assert status(found, "registry", "ports")[0] is Status.OK
    found_status, text = status(found, "gateway", "ports")
    assert found_status is Status.PROBLEM
    assert f"127.0.0.1:{taken}" in text
    assert "HUB_GATEWAY_PORT" in text
    given = DoctorSettings(gateway_port=0, registry_port=0, dashboard_port=taken)
    with fail_after(TIME_LIMIT):
        by_default = await examine("up", given, {})
        asked_for = await examine("up", given, {"dashboard_port": "hub.toml"})
    assert status(by_default, "dashboard")[0] is Status.WARNING
    assert status(asked_for, "dashboard")[0] is Status.PROBLEM


async def test_an_address_that_cannot_be_used_is_named() -> None:
    found = await examined(gateway_host="256.0.0.1", gateway_port=1, api_keys="k")
    assert "HUB_GATEWAY_HOST" in status(found, "gateway", "ports")[1]
    exposed = await examined(registry_host="0.0.0.0")
    found_status, text = status(exposed, "listen")
    assert found_status is Status.PROBLEM
    assert "HUB_TOKEN" in text


async def test_memory_is_a_problem_for_processes_that_share() -> None:
    found = await examined("gateway", broker_url="memory://", store_url="memory://", registry_url="http://127.0.0.1:1")
    assert status(found, "servers")[0] is Status.PROBLEM
    assert "hub up" in status(found, "servers")[1]


async def test_a_readable_file_with_secrets_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub.toml").write_text("token = 'abcdefgh'")
    (tmp_path / "hub.toml").chmod(0o644)
    assert status(await examined(), "secrets")[0] is Status.WARNING


def difference(text: str) -> float:
    """Seconds between two clocks, in a finding. A header `Date` has no fractions of a second."""
    (seconds,) = re.findall(r"differ by ([\d.]+) s", text)
    return float(seconds)


# Registry and gateway


async def test_a_registry_is_checked_with_its_token_and_clock() -> None:
    async with served_registry(token="the right one") as registry:
        ask = partial(examined, "model", registry_url=registry.url, broker_url="memory://", store_url="memory://")
        good = await ask(token="the right one")
        bad = await ask(token="wrong")
        late = await ask(token="the right one", shift=-HOUR)
        slightly = await ask(token="the right one", shift=5.0)
    assert status(good, "reachable", "registry")[0] is Status.OK
    assert status(good, "clock", "registry")[0] is Status.OK
    assert status(bad, "reachable", "registry")[0] is Status.PROBLEM
    assert "HUB_TOKEN" in status(bad, "reachable", "registry")[1]
    assert status(late, "clock", "registry")[0] is Status.PROBLEM
    assert difference(status(late, "clock", "registry")[1]) == pytest.approx(HOUR, abs=TIME_LIMIT)
    assert status(slightly, "clock", "registry")[0] is Status.WARNING


async def test_a_registry_that_is_down() -> None:
    ask = partial(examined, "model", broker_url="memory://", store_url="memory://")
    down = await ask(registry_url="http://127.0.0.1:1")
    assert status(down, "reachable", "registry")[0] is Status.PROBLEM
    assert "HUB_REGISTRY_URL=http://127.0.0.1:1" in status(down, "reachable", "registry")[1]


async def test_a_running_hub_is_recognized_and_checked() -> None:
    given = UpSettings(gateway_port=free_port(), registry_port=free_port(), dashboard_port=0, api_keys="a-key,b-key")
    ports: dict[str, Any] = {"gateway_port": given.gateway_port, "registry_port": given.registry_port}
    with fail_after(TIME_LIMIT):
        async with anyio.create_task_group() as tg:
            up: UpSummary = await tg.start(run_up, [ModelA], given)
            found = await examined(**ports, api_key="a-key")
            without = await examined(**ports)
            swapped = await examined(gateway_url=up.registry_url)
            tg.cancel_scope.cancel()
    assert "registry of hub" in status(found, "registry", "ports")[1]
    assert "gateway of hub" in status(found, "gateway", "ports")[1]
    assert "1 of them are up" in status(found, "reachable", "registry")[1]
    assert status(found, "health", "gateway")[0] is Status.OK
    assert problems(found) == []
    assert status(without, "key", "gateway")[0] is Status.PROBLEM
    assert "HUB_API_KEY" in status(without, "key", "gateway")[1]
    assert "no gateway of hub" in status(swapped, "reachable", "gateway")[1]
    down = await examined(gateway_url="http://127.0.0.1:1")
    assert "out of reach" in status(down, "reachable", "gateway")[1]


# Redis


@pytest.fixture(scope="module")
@starts("redis")
def own_redis() -> Iterator[Redis]:
    with redis(appendonly=True) as server:
        yield server


async def store(url: str, *, shift: float = 0.0, scheme: str = "redis") -> Findings:
    with fail_after(TIME_LIMIT):
        url = url.replace("redis://", f"{scheme}://")
        return await check_redis("store", "store_url", url, lambda: wall_clock() + shift)


@pytest.fixture(params=CLIENTS)
def redis_scheme(request: pytest.FixtureRequest, anyio_backend_name: str) -> str:
    """Both clients; on trio coredis twice, since redis-py does not run there, which has a test of its own."""
    return "redis" if anyio_backend_name == "trio" else str(request.param)


async def test_a_store_as_it_should_be(own_redis: Redis, redis_scheme: str) -> None:
    found = await store(own_redis.url, scheme=redis_scheme)
    assert problems(found) == []
    for check in ("reachable", "version", "writable", "eviction", "memory", "persistence", "clock", "subscribe"):
        assert status(found, check)[0] is Status.OK, check
    assert "appendfsync always" in status(found, "persistence")[1]


async def test_the_clock_of_redis_is_compared(own_redis: Redis, redis_scheme: str) -> None:
    found = await store(own_redis.url, shift=HOUR, scheme=redis_scheme)
    assert status(found, "clock")[0] is Status.PROBLEM
    assert difference(status(found, "clock")[1]) == pytest.approx(HOUR, abs=TIME_LIMIT)


async def test_a_client_that_cannot_run_on_this_backend(own_redis: Redis, anyio_backend_name: str) -> None:
    found = await store(own_redis.url, scheme="redis+redispy")
    expected = Status.PROBLEM if anyio_backend_name == "trio" else Status.OK
    assert status(found, "reachable")[0] is expected


SETTINGS: Final[dict[str, tuple[dict[str, str], str, Status, str]]] = {
    "eviction": ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "eviction", Status.PROBLEM, "noeviction"),
    "eviction without a limit": ({"maxmemory-policy": "volatile-ttl"}, "eviction", Status.WARNING, "noeviction"),
    "nearly full": ({"maxmemory": "NOW"}, "memory", Status.WARNING, "raise maxmemory"),
    "full": ({"maxmemory": "1"}, "writable", Status.PROBLEM, "raise maxmemory"),
    "no append-only file": ({"appendonly": "no"}, "persistence", Status.WARNING, "appendonly yes"),
    "late synchronization": ({"appendfsync": "everysec"}, "persistence", Status.WARNING, "appendfsync always"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in SETTINGS.items()])
async def test_settings_of_redis(
    case: tuple[dict[str, str], str, Status, str], own_redis: Redis, redis_scheme: str
) -> None:
    values, check, expected, repair = case
    usual = {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
    with client.Redis(port=own_redis.port) as connection:
        try:
            for name, value in values.items():
                used = int(connection.info("memory")["used_memory"])
                connection.config_set(name, str(int(used * 1.05)) if value == "NOW" else value)
            found = await store(own_redis.url, scheme=redis_scheme)
        finally:
            for name, value in usual.items():
                connection.config_set(name, value)
    found_status, text = status(found, check)
    assert found_status is expected, found.found
    assert repair in text


USERS: Final[dict[str, tuple[str, str, Status]]] = {
    "no scripts": ("~* &* +@all -eval -evalsha", "writable", Status.PROBLEM),
    "other keys": ("~mine:* &* +@all", "writable", Status.PROBLEM),
    "no publishing": ("~* &* +@all -publish", "publish", Status.PROBLEM),
    "no subscriptions": ("~* &* +@all -subscribe", "subscribe", Status.PROBLEM),
    "no information": ("~* &* +@all -info", "eviction", Status.UNKNOWN),
    "no configuration": ("~* &* +@all -config", "persistence", Status.UNKNOWN),
    "no time": ("~* &* +@all -time", "clock", Status.UNKNOWN),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in USERS.items()])
async def test_permissions_in_redis(
    case: tuple[str, str, Status], own_redis: Redis, redis_scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cli.doctor.redis.SILENCE", 1.0)  # a client waits for so long for a refused subscription
    rules, check, expected = case
    with client.Redis(port=own_redis.port) as connection:
        connection.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">pw", *rules.split())
    found = await store(own_redis.url.replace("//", "//ann:pw@"), scheme=redis_scheme)
    assert status(found, check)[0] is expected, found.found


async def test_a_replica_is_not_written_to(own_redis: Redis, redis_scheme: str) -> None:
    with redis() as replica, client.Redis(port=replica.port) as connection:
        connection.replicaof("127.0.0.1", own_redis.port)
        found = await store(replica.url, scheme=redis_scheme)
    assert status(found, "writable")[0] is Status.PROBLEM
    assert f"127.0.0.1:{own_redis.port}" in status(found, "writable")[1]


async def test_redis_refuses_or_is_down(own_redis: Redis, redis_scheme: str) -> None:
    refused = await store(own_redis.url.replace("//", "//ann:wrong@"), scheme=redis_scheme)
    assert status(refused, "reachable")[0] is Status.PROBLEM
    assert "HUB_STORE_URL" in status(refused, "reachable")[1]
    down = await store(f"redis://u:secret@127.0.0.1:{free_port()}", scheme=redis_scheme)
    assert "start it" in status(down, "reachable")[1]
    assert "secret" not in status(down, "reachable")[1]


async def test_a_frozen_redis_does_not_hold_the_command_up(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.cli.doctor.redis.TIMEOUT", 0.5)
    own_redis.freeze()
    try:
        found = await store(own_redis.url)
    finally:
        own_redis.thaw()
    assert "no answer within 0.5 s" in status(found, "reachable")[1]


# RabbitMQ


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
