from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from hub.histogram import HistogramSnapshot
from hub.http.client import IDLE
from hub.ports.directory import InstanceEntry
from hub.registry.core.networks import InstanceNetworks, IPAddress
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult
from hub.registry.tasks.instance_http import InstanceHttp
from hub.registry.tasks.probe import MAX_REPLY, HttpProbe
from hub.stats import InstanceStats
from hub.types import InstanceId, ReadinessSource, TaskState
from tests.registry.fakes import ping_server
from tests.registry.helpers import TIMEOUT, entry_of

LOOPBACK = InstanceNetworks([ip_network("127.0.0.0/8"), ip_network("::1/128")])


@pytest.fixture
async def instances() -> AsyncGenerator[InstanceHttp]:
    async with InstanceHttp(LOOPBACK, token="sesame") as opened:
        yield opened


@asynccontextmanager
async def raw_server(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncGenerator[str]:
    """Something that listens and does what `handle` does with each connection, then closes it."""

    async def connected(stream: SocketStream) -> None:
        async with stream:
            await handle(stream)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tg,
    ):
        tg.start_soon(listener.serve, connected, name="raw server")
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tg.cancel_scope.cancel()


def reply(status: str, body: bytes) -> Callable[[SocketStream], Awaitable[None]]:
    async def handle(stream: SocketStream) -> None:
        await stream.receive()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        await stream.send(head.encode() + body)

    return handle


async def ping(instances: InstanceHttp, entry: InstanceEntry) -> PingResult:
    with anyio.fail_after(TIMEOUT):
        return await HttpProbe(instances).ping(entry)


async def test_an_instance_that_consumes_has_answered(instances: InstanceHttp) -> None:
    async with ping_server() as server:
        assert await ping(instances, entry_of(id=server.id, url=server.url)) == PingOk()
        assert server.tokens == ["Bearer sesame"]


async def test_an_instance_that_does_not_consume_answers_with_a_reason(instances: InstanceHttp) -> None:
    async with ping_server() as server:
        server.consuming = False
        assert await ping(instances, entry_of(id=server.id, url=server.url)) == PingOk(
            consuming=False, reason="no connection"
        )


async def test_a_host_may_be_a_name_and_all_its_addresses_are_tried(instances: InstanceHttp) -> None:
    async with ping_server() as server:  # on 127.0.0.1, while the name may stand for ::1 as well
        url = server.url.replace("127.0.0.1", "localhost")
        assert await ping(instances, entry_of(id=server.id, url=url)) == PingOk()


async def test_a_ping_to_a_closed_port_is_rejected(instances: InstanceHttp) -> None:
    async with ping_server() as server:
        entry = entry_of(id=server.id, url=server.url)
        assert await ping(instances, entry) == PingOk()
    assert await ping(instances, entry) == PingRejected("connection refused")


async def test_a_reply_of_another_instance_is_a_rejection(instances: InstanceHttp) -> None:
    async with ping_server() as server:
        result = await ping(instances, entry_of(url=server.url))
        assert isinstance(result, PingRejected)
        assert server.id in result.reason


async def test_an_address_outside_of_the_networks_is_never_connected_to() -> None:
    elsewhere = InstanceNetworks([ip_network("10.0.0.0/8")])
    async with ping_server() as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            async with InstanceHttp(elsewhere) as instances:
                result = await ping(instances, entry_of(id=server.id, url=url))
            assert isinstance(result, PingRejected)
            assert "HUB_INSTANCE_NETWORKS" in result.reason
        assert server.pings == 0


async def test_a_name_that_cannot_be_resolved_is_a_miss(instances: InstanceHttp) -> None:
    result = await ping(instances, entry_of(url="http://no-such-host.invalid:4000"))
    assert isinstance(result, PingMissed)
    assert "no-such-host.invalid cannot be resolved" in result.reason


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("200 OK", b"pong", PingOk()),
        ("200 OK", b'{"consuming": false, "reason": "health: no GPU"}', PingOk(False, "health: no GPU")),
        (
            "503 Service Unavailable",
            b'{"consuming": true, "instance": "i", "reason": "ValueError: no GPU"}',
            PingOk(False, "ValueError: no GPU", source=ReadinessSource.HEALTH),
        ),
        (
            "503 Service Unavailable",
            b'{"consuming": false, "draining": true, "reason": "it stops"}',
            PingOk(False, "it stops", source=ReadinessSource.HEALTH),
        ),
        ("404 Not Found", b"{}", PingMissed("it answered 404", replied=True)),
        ("503 Service Unavailable", b"<html>a proxy", PingMissed("it answered 503", replied=True)),
        ("503 Service Unavailable", b'{"status": 503}', PingMissed("it answered 503", replied=True)),
        ("200 OK", b'{"x": ' + b"[" * 50_000, PingOk()),
        ("200 OK", b"\xff", PingOk()),
        ("200 OK", b'{"instance": "\xff"}', PingOk()),
        ("200 OK", b'{"reason": "\xed\xa0\x80"}', PingOk()),
        ("302 Found", b"", PingMissed("it answered 302", replied=True)),
        (
            "401 Unauthorized",
            b"",
            PingMissed("it answered 401 to the registry: set the same HUB_TOKEN for both", replied=True),
        ),
        (
            "200 OK",
            b" " * (MAX_REPLY + 1),
            PingMissed(f"its reply is longer than {MAX_REPLY} bytes", replied=True),
        ),
    ],
)
async def test_replies_of_strangers(instances: InstanceHttp, status: str, body: bytes, expected: PingResult) -> None:
    async with raw_server(reply(status, body)) as url:
        assert await ping(instances, entry_of(url=url, id=InstanceId("i"))) == expected


LOAD = (
    b'{"in_flight": 2, "unacked": 3, "outcomes": {"succeeded": 5}, "newest_task_created_at": 1.5,'
    b' "queue_time": {"bounds": [0.1], "counts": [4, 1], "sum": 2.5}, "more": []}'
)


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
async def test_the_statistics_of_a_reply_are_kept(instances: InstanceHttp, status: str) -> None:
    entry = entry_of()
    body = b'{"instance": "%s", "consuming": %s, "stats": %s}'
    async with raw_server(reply(status, body % (entry.id.encode(), b"true", LOAD))) as url:
        result = await ping(instances, replace(entry, url=url))
        assert isinstance(result, PingOk)
        assert result.stats == InstanceStats(
            in_flight=2,
            unacked=3,
            outcomes={TaskState.SUCCEEDED: 5},
            newest_task_created_at=1.5,
            queue_time=HistogramSnapshot(bounds=(0.1,), counts=(4, 1), sum=2.5),
        )


@pytest.mark.parametrize(
    "load",
    [
        b"17",
        b'{"in_flight": "many"}',
        b'{"in_flight": -1}',
        b'{"outcomes": {"sold": 1}}',
        b'{"queue_time": {"bounds": [1], "counts": [1], "sum": 1}}',
        b'{"run_time": {"bounds": [2, 1], "counts": [1, 1, 1], "sum": 1}}',
        b'{"run_time": {"bounds": [], "counts": [-1], "sum": 1}}',
        b'{"in_flight": %s}' % (b"9" * 5000),
        b'{"newest_task_created_at": 1e400}',
    ],
)
async def test_statistics_that_cannot_be_read_are_none_and_no_error(instances: InstanceHttp, load: bytes) -> None:
    async with raw_server(reply("200 OK", b'{"consuming": true, "stats": %s}' % load)) as url:
        assert await ping(instances, entry_of(url=url)) == PingOk()


async def test_a_reason_is_cut(instances: InstanceHttp) -> None:
    async with raw_server(reply("200 OK", b'{"consuming": false, "reason": "%s"}' % (b"x" * 10_000))) as url:
        result = await ping(instances, entry_of(url=url))
        assert isinstance(result, PingOk)
        assert len(result.reason) == 200


async def test_a_connection_that_is_closed_without_an_answer_is_a_miss(instances: InstanceHttp) -> None:
    async def hang_up(stream: SocketStream) -> None:
        await stream.receive()

    async with raw_server(hang_up) as url:
        assert isinstance(await ping(instances, entry_of(url=url)), PingMissed)


async def test_a_reply_that_is_not_http_is_a_miss(instances: InstanceHttp) -> None:
    async def babble(stream: SocketStream) -> None:
        await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with raw_server(babble) as url:
        assert isinstance(await ping(instances, entry_of(url=url)), PingMissed)


async def test_a_kept_alive_connection_that_the_other_side_closes_under_a_ping_is_no_miss(
    instances: InstanceHttp,
) -> None:
    connections = 0

    async def close_at_the_second_request(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await stream.receive()

    async with raw_server(close_at_the_second_request) as url:
        entry = entry_of(url=url)
        assert await ping(instances, entry) == PingOk()
        assert await ping(instances, entry) == PingOk()
    assert connections == 2


async def test_connections_are_kept_alive(instances: InstanceHttp) -> None:
    connections = 0

    async def answer_all(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        async for _ in stream:
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with raw_server(answer_all) as url:
        for _ in range(3):
            assert await ping(instances, entry_of(url=url)) == PingOk()
    assert connections == 1


async def test_two_requests_at_a_time_use_two_connections_of_which_one_is_kept(instances: InstanceHttp) -> None:
    connections, both = 0, anyio.Event()

    async def answer_all(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        async for _ in stream:
            if connections == 2:
                both.set()
            await both.wait()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with raw_server(answer_all) as url:
        async with anyio.create_task_group() as tg:
            for _ in range(2):
                tg.start_soon(ping, instances, entry_of(url=url))
        assert await ping(instances, entry_of(url=url)) == PingOk()
    assert (connections, instances.kept) == (2, 1)


async def test_a_ping_that_is_cancelled_closes_its_connection(instances: InstanceHttp) -> None:
    ended = anyio.Event()

    async def listen(stream: SocketStream) -> None:
        async for _ in stream:
            pass
        ended.set()

    async with raw_server(listen) as url:
        with anyio.move_on_after(0.05):
            await ping(instances, entry_of(url=url))
        with anyio.fail_after(TIMEOUT):
            await ended.wait()
    assert instances.kept == 0


async def test_no_more_connections_are_kept_than_allowed() -> None:
    async with InstanceHttp(LOOPBACK, kept=1) as instances, ping_server() as one, ping_server() as other:
        for server in (one, other, one, other):
            assert await ping(instances, entry_of(id=server.id, url=server.url)) == PingOk()
        assert instances.kept == 1


async def test_connections_to_instances_that_are_gone_are_closed(
    instances: InstanceHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ping_server() as one, ping_server() as other:
        await ping(instances, entry_of(id=one.id, url=one.url))
        assert instances.kept == 1
        monkeypatch.setattr("hub.registry.tasks.instance_http.current_time", lambda: anyio.current_time() + IDLE + 1)
        await ping(instances, entry_of(id=other.id, url=other.url))
        assert instances.kept == 1


def resolver(*answers: list[str]) -> tuple[Callable[[str, int], Awaitable[list[IPAddress]]], list[str]]:
    """Replaces the resolver: one result after the other, the last one repeated. Returns the resolved names too."""
    asked: list[str] = []

    async def addresses(host: str, _port: int) -> list[IPAddress]:
        await anyio.lowlevel.checkpoint()
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [ip_address(text) for text in answer]

    return addresses, asked


async def test_of_a_name_that_is_inside_and_outside_only_the_addresses_inside_are_tried(
    instances: InstanceHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ping_server() as server:
        entry = entry_of(id=server.id, url=server.url.replace("127.0.0.1", "model.example"))
        addresses, _ = resolver(["192.0.2.1", "127.0.0.1"])  # the first one would not answer for a long time
        monkeypatch.setattr("hub.registry.tasks.instance_http.addresses_of", addresses)
        assert await ping(instances, entry) == PingOk()


async def test_a_name_is_resolved_at_each_ping_and_is_refused_once_it_resolves_elsewhere(
    instances: InstanceHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ping_server() as server:
        entry = entry_of(id=server.id, url=server.url.replace("127.0.0.1", "model.example"))
        addresses, asked = resolver(["127.0.0.1"], ["::ffff:127.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"])
        monkeypatch.setattr("hub.registry.tasks.instance_http.addresses_of", addresses)
        results = [await ping(instances, entry) for _ in range(4)]
        assert results[:2] == [PingOk(), PingOk()]
        for result, where in zip(results[2:], ("::ffff:10.0.0.1", "169.254.169.254"), strict=True):
            assert isinstance(result, PingRejected)
            assert ip_address(where) == ip_address(result.reason.split()[3].strip(","))
        assert asked == ["model.example"] * 4
        assert server.pings == 2


async def test_a_redirect_is_not_followed(instances: InstanceHttp) -> None:
    async with ping_server() as elsewhere:

        async def send_away(stream: SocketStream) -> None:
            await stream.receive()
            head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere.url}/ping\r\nContent-Length: 0\r\n"
            await stream.send(f"{head}Connection: close\r\n\r\n".encode())

        async with raw_server(send_away) as url:
            assert await ping(instances, entry_of(id=elsewhere.id, url=url)) == PingMissed(
                "it answered 307", replied=True
            )
        assert elsewhere.pings == 0


async def test_an_instance_is_asked_to_subscribe_again_with_the_token_and_only_inside_the_networks(
    instances: InstanceHttp,
) -> None:
    requests: list[bytes] = []

    async def take(stream: SocketStream) -> None:
        requests.append(await stream.receive())
        await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    elsewhere = InstanceNetworks([ip_network("10.0.0.0/8")])
    async with raw_server(take) as url:
        with anyio.fail_after(TIMEOUT):
            await HttpProbe(instances).resubscribe(entry_of(url=f"{url}/base"))
            async with InstanceHttp(elsewhere) as others:
                await HttpProbe(others).resubscribe(entry_of(url=url))
    (request,) = requests
    assert request.startswith(b"POST /base/resubscribe HTTP/1.1\r\n")
    assert b"authorization: bearer sesame" in request.lower()
