"""Limits of connections, in the server of each backend."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import msgspec
import pytest
import trustme
from anyio import create_task_group, fail_after
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint
from httpx2 import AsyncClient

from hub.concurrency.services import background_service
from hub.errors import ConfigurationError
from hub.http.serve.client import ConnectionLimits
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import EXPIRY, RESERVE, serve
from hub.http.serve.server_counts import LOAD

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

GET = b"GET /%d HTTP/1.1\r\nHost: hub.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: hub.test\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path and the length of the body; `/unread` without reading it, `/late` when it is told to go."""
    length, more = 0, scope["path"] != "/unread"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    if scope["path"] == "/late":
        while (await receive())["type"] != "http.disconnect":
            pass
    body = f"{scope['path']} {length}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@asynccontextmanager
async def served(**limits: Any) -> AsyncGenerator[int]:
    with fail_after(30):
        bind = ListenAddress(limits=ConnectionLimits(**limits))
        async with background_service(partial(serve, app, bind, grace=0.2), name="server") as url:
            yield int(url.rpartition(":")[2])


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[SocketStream]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield stream


async def read_until(stream: SocketStream, end: bytes = b"") -> bytes:
    """What arrives until `end` of it, or until the server closes the connection."""
    data = b""
    try:
        while not (end and data.endswith(end)):
            data += await stream.receive()
    except anyio.EndOfStream:
        pass
    return data


def problem(reply: bytes) -> dict[str, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return dict(msgspec.json.decode(body))


async def test_requests_on_one_connection_are_answered_in_turn_also_when_sent_at_once() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(b"".join(GET % number for number in range(20)))
        reply = await read_until(stream, b"/19 0")
    assert [f"/{number} 0".encode() in reply for number in range(20)] == [True] * 20
    assert reply.index(b"/2 0") < reply.index(b"/3 0")


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: hub"])
async def test_a_head_that_does_not_arrive_in_time_ends_the_connection(sent: bytes) -> None:
    async with served(request_timeout=0.3) as port, connected(port) as stream:
        if sent:
            await stream.send(sent)
        reply = await read_until(stream)
    assert problem(reply)["code"] == "request_timeout" if sent else reply == b""


async def test_a_slow_head_has_the_same_timeout_as_one_that_stops() -> None:
    async with served(request_timeout=0.5) as port, connected(port) as stream, create_task_group() as tg:

        async def drip() -> None:
            while True:
                await stream.send(b"G" if not begun else b"x")
                begun.append(1)
                await anyio.sleep(0.05)

        begun: list[int] = []
        await stream.send(b"GET / HTTP/1.1\r\nHost: hub.test\r\nA: ")
        begun.append(1)
        tg.start_soon(drip)
        with fail_after(5):
            reply = await stream.receive()
        tg.cancel_scope.cancel()
    assert reply.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nab"])
async def test_a_body_that_stops_is_answered_408(framing: bytes) -> None:
    async with served(request_timeout=0.3) as port, connected(port) as stream:
        await stream.send(POST + framing)
        reply = await read_until(stream)
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert "request_timeout" in problem(reply)["detail"]


@pytest.mark.parametrize("framing", [b"Content-Length: 900\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_that_arrives_below_the_minimum_rate_is_answered_408(framing: bytes) -> None:
    piece = b"x" if b"Length" in framing else b"1\r\nx\r\n"
    async with served(request_timeout=0.5) as port, connected(port) as stream, create_task_group() as tg:

        async def drip() -> None:
            while True:  # some 20 bytes of body a second
                await stream.send(piece)
                await anyio.sleep(0.05)

        await stream.send(POST + framing)
        tg.start_soon(drip)
        with fail_after(5):
            reply = await stream.receive()
        tg.cancel_scope.cancel()
    assert reply.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_arrives_steadily_has_no_timeout() -> None:
    async with served(request_timeout=0.5) as port, connected(port) as stream:
        await stream.send(POST + b"Content-Length: 5120\r\n\r\n")
        for _ in range(10):
            await stream.send(b"x" * 512)
            await anyio.sleep(0.1)
        assert (await read_until(stream, b"5120")).startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_expects_continue_gets_it_when_the_body_is_read() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send(b"abc")
        assert (await read_until(stream, b"/ 3")).startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_expects_continue_gets_none_if_its_body_is_not_read() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(POST.replace(b" / ", b" /unread ") + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        reply = await read_until(stream)
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in reply


async def test_a_reply_to_a_request_whose_body_is_not_read_reaches_a_client_that_goes_on_sending() -> None:
    async with served() as port, connected(port) as stream, create_task_group() as tg:

        async def go_on() -> None:
            try:
                while True:
                    await stream.send(b"x" * 65536)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

        await stream.send(POST.replace(b" / ", b" /unread ") + b"Content-Length: 99999999999\r\n\r\n")
        tg.start_soon(go_on)
        assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
        tg.cancel_scope.cancel()


async def test_a_small_body_that_is_not_read_leaves_the_connection_usable() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(POST.replace(b" / ", b" /unread ") + b"Content-Length: 3\r\n\r\nabc" + GET % 7)
        assert (await read_until(stream, b"/7 0")).count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("line", [b"A: " + b"b" * 100_000, b"A: b\r\n" * 10_000, b"A: "])
async def test_a_head_without_end_is_answered_431(line: bytes) -> None:
    async with served(head_limit=8192) as port, connected(port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: hub.test\r\n" + line)
        if line == b"A: ":
            for _ in range(20):
                await stream.send(b"b" * 1000)
        reply = await read_until(stream)
    assert reply.startswith(b"HTTP/1.1 431 ")
    assert "head_limit" in problem(reply)["detail"]


async def test_an_ambiguous_request_is_answered_400_and_ends_the_connection() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET % 1)
        reply = await read_until(stream)
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"200" not in reply.partition(b"\r\n")[2].replace(b"2026", b"")
    assert problem(reply)["code"] == "malformed_request"


async def test_an_idle_connection_is_closed_for_a_new_one_and_a_busy_one_is_not() -> None:
    async with served(connection_limit=2) as port, connected(port) as busy, connected(port) as idle:
        await idle.send(GET % 1)
        await read_until(idle, b"/1 0")
        await busy.send(b"GET /late HTTP/1.1\r\nHost: hub.test\r\n\r\n")
        await anyio.sleep(0.1)
        async with connected(port) as third:
            await third.send(b"GET /late HTTP/1.1\r\nHost: hub.test\r\n\r\n")
            assert await read_until(idle) == b""
            await anyio.sleep(0.1)
            refused = LOAD.refused
            async with connected(port) as fourth:
                reply = await read_until(fourth)
            assert reply.startswith(b"HTTP/1.1 503 ")
            assert problem(reply)["code"] == "too_many_connections"
            assert LOAD.refused == refused + 1


async def test_a_connection_that_its_client_has_closed_ends_at_once() -> None:
    async with served() as port:
        before = LOAD.open
        for _ in range(50):
            async with connected(port) as stream:
                await stream.send(GET % 1)
                await read_until(stream, b"/1 0")
        with fail_after(5):
            while LOAD.open > before:
                await anyio.sleep(0.01)


async def test_idle_connections_do_not_keep_a_server_from_ending() -> None:
    with fail_after(5):
        async with served() as port, connected(port) as idle, connected(port) as half:
            await idle.send(GET % 1)
            await read_until(idle, b"/1 0")
            await half.send(b"GET")


async def test_a_header_with_a_line_break_of_the_application_is_never_sent() -> None:
    async def splitting(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nset-cookie: c=d")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with fail_after(10):
        async with background_service(partial(serve, splitting, ListenAddress()), name="server") as url:
            async with connected(int(url.rpartition(":")[2])) as stream:
                await stream.send(GET % 1)
                assert b"set-cookie" not in await read_until(stream)


@pytest.mark.parametrize("idle", [False, True], ids=["one after the other", "all kept open"])
async def test_a_process_with_few_descriptors_answers_and_goes_on(idle: bool, anyio_backend_name: str) -> None:
    limit = RESERVE + 40
    command = [sys.executable, "-m", "tests.http.few_descriptors", anyio_backend_name, str(limit)]
    kept: list[socket.socket] = []
    with fail_after(60):
        async with await anyio.open_process(command, stdout=PIPE, stderr=None) as process:
            assert process.stdout is not None
            port = int((await process.stdout.receive()).decode())
            for _ in range(3 * limit):
                with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
                    client.sendall(GET.replace(b"/%d", b"/"))
                    assert await anyio.to_thread.run_sync(client.recv, 4096) != b""
                    if idle:
                        kept.append(client.dup())
                await checkpoint()
            assert process.returncode is None
            for each in kept:
                each.close()
            async with connected(port) as stream:
                await stream.send(GET.replace(b"/%d", b"/"))
                assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200 ")
            process.kill()


async def test_a_server_with_a_certificate_accepts_tls_only(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    bind = ListenAddress(certificate=certificate, key=key, limits=ConnectionLimits(request_timeout=1.0))
    with fail_after(20):
        async with background_service(partial(serve, app, bind), name="server") as url:
            assert url.startswith("https://127.0.0.1:")
            async with AsyncClient(verify=trusting) as client:
                for _ in range(2):
                    reply = await client.post(f"{url}/a", content=b"x" * 100_000)
                    assert reply.text == "/a 100000"
                    assert reply.http_version == "HTTP/1.1"
            async with connected(int(url.rpartition(":")[2])) as plain:
                await plain.send(GET % 1)
                assert b"HTTP" not in await read_until(plain)
            async with connected(int(url.rpartition(":")[2])) as silent:  # a handshake has its time, as a head has
                assert await read_until(silent) == b""


@pytest.mark.parametrize("missing", ["certificate", "key", "both"])
async def test_a_certificate_that_cannot_be_used_is_a_configuration_error(missing: str, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    if missing == "key":
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    if missing == "certificate":
        key.write_bytes(issued.private_key_pem.bytes())
    with pytest.raises(ConfigurationError, match="tls_certificate"):
        await serve(app, ListenAddress(certificate=certificate, key=key))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_request_that_is_held_back_ends_when_its_client_has_closed_the_connection(method: bytes) -> None:
    ended = anyio.Event()

    async def held(_scope: Any, receive: Any, _send: Any) -> None:
        assert not (await receive())["more_body"]
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    with fail_after(30):
        async with background_service(partial(serve, held, ListenAddress(), grace=0.2), name="server") as url:
            before = LOAD.open
            async with connected(int(url.rpartition(":")[2])) as stream:
                await stream.send(method + b" / HTTP/1.1\r\nHost: hub.test\r\n\r\n")
                await anyio.sleep(0.1)
            with fail_after(10):
                await ended.wait()
                while LOAD.open > before:
                    await anyio.sleep(0.01)


async def test_a_client_that_closes_its_sending_half_only_reads_the_reply() -> None:
    async with served() as port, connected(port) as stream:
        await stream.send(GET % 1)
        await stream.send_eof()
        assert (await read_until(stream)).endswith(b"/1 0")


async def test_an_unsafe_request_is_not_cancelled_when_its_client_has_closed_the_connection() -> None:
    done = anyio.Event()

    async def slow(_scope: Any, receive: Any, _send: Any) -> None:
        assert not (await receive())["more_body"]
        await anyio.sleep(2.5 * EXPIRY)
        done.set()

    with fail_after(30):
        async with background_service(partial(serve, slow, ListenAddress(), grace=0.2), name="server") as url:
            async with connected(int(url.rpartition(":")[2])) as stream:
                await stream.send(POST + b"Content-Length: 0\r\n\r\n")
                await anyio.sleep(0.1)
            with fail_after(10):
                await done.wait()
