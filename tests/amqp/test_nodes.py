"""Several brokers in one URL: how it is read, and which node is connected to. No server needed."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog

from hub.amqp import AmqpAddress, LoginRefused
from hub.amqp.nodes import LEAST_TIMEOUT, Nodes, node_urls
from hub.brokers import open_broker
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("amqp://", ["amqp://"]),
        ("amqp://a/v", ["amqp://a/v"]),
        ("amqp://u:p@a:5672,b:5673,c/v", ["amqp://u:p@a:5672/v", "amqp://u:p@b:5673/v", "amqp://u:p@c/v"]),
        ("amqps+aiormq://u:p@a,b", ["amqps+aiormq://u:p@a", "amqps+aiormq://u:p@b"]),
        ("amqp://u:p@[::1]:5672,[::2]/%2F", ["amqp://u:p@[::1]:5672/%2F", "amqp://u:p@[::2]/%2F"]),
        ("amqp://u:p@a,[::2]:1?heartbeat=5", ["amqp://u:p@a?heartbeat=5", "amqp://u:p@[::2]:1?heartbeat=5"]),
        ("amqp://u:p,q@a, b/v", ["amqp://u:p,q@a/v", "amqp://u:p,q@b/v"]),
    ],
)
def test_a_url_names_its_nodes_in_order(url: str, urls: list[str]) -> None:
    assert list(node_urls(url)) == urls


def test_default_ports_and_names_belong_to_each_node() -> None:
    plain = [AmqpAddress.parse(url) for url in node_urls("amqp://u:p@a:1,b,[::1]/v")]
    assert [address.node for address in plain] == ["a:1", "b:5672", "[::1]:5672"]
    assert {address.vhost for address in plain} == {"v"}
    secure = [AmqpAddress.parse(url) for url in node_urls("amqps://u:p@a,b:1")]
    assert [address.node for address in secure] == ["a:5671", "b:1"]
    assert [address.server_name or address.host for address in secure] == ["a", "b"], (
        "each certificate has its own name"
    )


@pytest.mark.parametrize("scheme", ["amqp", "amqps", "amqp+aiormq", "amqps+aiormq"])
@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ("a,,b", r"a host is empty.*\(host 2 of 3\)"),
        ("a,", r"a host is empty.*\(host 2 of 2\)"),
        (",a", r"a host is empty.*\(host 1 of 2\)"),
        ("a:5672,b:99999", r"port.*1 to 65535.*\(host 2 of 2\)"),
        ("a:0,b", r"port.*\(host 1 of 2\)"),
        ("a:x", r"port.*\(host 1 of 1\)"),
        ("a:,b", r"port.*\(host 1 of 2\)"),
        ("a:-1,b", r"port.*\(host 1 of 2\)"),
        ("a,:5672", r"none.*\(host 2 of 2\)"),
        ("a,::1", r"none.*brackets"),
        ("a,[::1", r"none.*brackets"),
        ("a,[::1]5672", r"none.*brackets"),
        ("a,[]", r"none.*brackets"),
        ("a,b,a", "names a host twice"),
    ],
)
def test_a_host_that_is_none_is_refused_by_the_name_of_the_setting(scheme: str, hosts: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        open_broker(f"{scheme}://user:{SECRET}@{hosts}/v")
    assert "HUB_BROKER_URL" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", [f"amqp://user:{SECRET},x/y@a,b/v", f"amqp://user:{SECRET}/y@a,b:1/v"])
def test_a_password_that_cuts_the_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="%2F") as refused:
        open_broker(url)
    assert SECRET not in str(refused.value)


class World:
    """Nodes that are up or not, and what was tried."""

    def __init__(self, **up: bool) -> None:
        self.up = up
        self.tried: list[str] = []
        self.connections: list[Stub] = []
        self.nodes = Nodes(list(up), name=str, rng=random.Random(0))
        self.refusal: ConnectionLost | None = None

    @asynccontextmanager
    async def connect(self, node: str) -> AsyncGenerator[Stub]:
        self.tried.append(node)
        await anyio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        if not self.up[node]:
            raise ConnectionLost(node, "connection refused")
        stub = Stub(node)
        self.connections.append(stub)
        yield stub


class Stub:
    def __init__(self, node: str) -> None:
        self.node = node
        self.usable = True


async def test_connections_stay_on_one_node_and_move_to_the_next_one_when_it_is_lost() -> None:
    world = World(a=True, b=True, c=True)
    async with world.nodes.connected(world.connect) as first, world.nodes.connected(world.connect) as second:
        assert first.node == second.node
        assert world.nodes.connections == {first.node: 2}
        lost = first.node
        for stub in (first, second):
            stub.usable = False
    assert world.nodes.connections == {}
    async with world.nodes.connected(world.connect) as third:
        order = "abc"
        assert third.node == order[(order.index(lost) + 1) % 3], "two lost links are the loss of one node"


async def test_a_block_that_ends_in_order_keeps_its_node_and_one_that_loses_its_connection_does_not() -> None:
    world = World(a=True, b=True)
    async with world.nodes.connected(world.connect) as first:
        pass
    again: list[str] = []

    async def use_and_lose() -> None:
        async with world.nodes.connected(world.connect) as connection:
            again.append(connection.node)
            raise ConnectionLost(connection.node, "the queue has no leader here")

    with pytest.raises(ConnectionLost):
        await use_and_lose()
    assert again == [first.node]
    async with world.nodes.connected(world.connect) as other:
        assert other.node != first.node


@pytest.mark.parametrize("alive", ["a", "b", "c"])
async def test_a_round_reaches_the_one_node_that_is_up(alive: str) -> None:
    world = World(a=alive == "a", b=alive == "b", c=alive == "c")
    async with world.nodes.connected(world.connect) as connection:
        assert connection.node == alive
    assert len(world.tried) == len(set(world.tried)) <= 3
    world.tried.clear()
    async with world.nodes.connected(world.connect):
        assert world.tried == [alive], "it is remembered"


async def test_a_round_that_fails_tries_each_node_once_and_has_the_reason_of_each() -> None:
    world = World(a=False, b=False, c=False)
    with pytest.raises(ConnectionLost) as lost:
        async with world.nodes.connected(world.connect):
            pytest.fail("no server is there")
    assert sorted(world.tried) == ["a", "b", "c"]
    assert lost.value.server == "broker a,b,c"
    for node in "abc":
        assert f"{node}: connection refused" in lost.value.reason


async def test_a_round_in_which_every_node_refuses_is_a_refusal() -> None:
    world = World(a=True, b=True)
    world.refusal = ConnectionRefused("a node", "TLS is there on one side only")
    with pytest.raises(ConnectionRefused, match=r"every node refuses: .*TLS"):
        async with world.nodes.connected(world.connect):
            pytest.fail("no node takes it")
    assert sorted(world.tried) == ["a", "b"]


async def test_two_rounds_at_once_try_every_node_both() -> None:
    world = World(a=False, b=False, c=False)

    async def try_all() -> None:
        with pytest.raises(ConnectionLost):
            async with world.nodes.connected(world.connect):
                pytest.fail("no server is there")

    async with anyio.create_task_group() as tg:
        tg.start_soon(try_all)
        tg.start_soon(try_all)
    assert sorted(world.tried) == ["a", "a", "b", "b", "c", "c"]


async def test_a_refused_login_holds_for_all_nodes() -> None:
    world = World(a=True, b=True, c=True)
    world.refusal = LoginRefused("a", 403, "ACCESS_REFUSED")
    with pytest.raises(LoginRefused):
        async with world.nodes.connected(world.connect):
            pytest.fail("refused")
    assert len(world.tried) == 1


async def test_the_node_in_use_is_logged_when_it_changes_and_only_with_several() -> None:
    with structlog.testing.capture_logs() as log:
        alone = World(a=True)
        async with alone.nodes.connected(alone.connect):
            pass
        assert not log
        world = World(a=True, b=True)
        async with world.nodes.connected(world.connect) as first, world.nodes.connected(world.connect):
            pass
        world.up[first.node] = False
        async with world.nodes.connected(world.connect) as other:
            pass
    assert [(line["node"], line["before"]) for line in log] == [(first.node, None), (other.node, first.node)]


def test_processes_start_at_different_nodes() -> None:
    firsts = set[str]()
    for seed in range(40):
        nodes = Nodes(["a", "b", "c"], name=str, rng=random.Random(seed))
        firsts.add(nodes.preferred)
    assert firsts == {"a", "b", "c"}


def test_a_round_over_frozen_nodes_takes_no_longer_than_one_frozen_broker() -> None:
    assert Nodes(["a"], name=str).timeout(10) == 10
    assert Nodes(["a", "b"], name=str).timeout(10) == 5
    assert Nodes(list("abcdefghij"), name=str).timeout(10) == LEAST_TIMEOUT
    assert Nodes(["a", "b"], name=str).timeout(1) == 1
