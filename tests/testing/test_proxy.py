from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream

from hub.testing.proxy import FaultProxy


async def echo(stream: SocketStream) -> None:
    async with stream:
        try:
            async for chunk in stream:
                await stream.send(chunk)
            await stream.send_eof()
        except anyio.BrokenResourceError:
            pass


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[FaultProxy]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        async with anyio.create_task_group() as tg:
            tg.start_soon(listener.serve, echo, tg)  # noqa: ASYNC113 - the socket listens already
            async with FaultProxy("127.0.0.1", listener.extra(SocketAttribute.local_port)) as proxy:
                yield proxy
            tg.cancel_scope.cancel()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, MemoryObjectReceiveStream[SocketStream]]]:
    """A server that hands its connections to the test."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        send, receive = anyio.create_memory_object_stream[SocketStream](1)
        async with send, receive, anyio.create_task_group() as tg:
            tg.start_soon(listener.serve, send.send, tg)
            yield listener.extra(SocketAttribute.local_port), receive
            tg.cancel_scope.cancel()


async def exchange(client: SocketStream, message: bytes) -> bytes:
    await client.send(message)
    return await receive_exactly(client, len(message))


async def receive_exactly(client: SocketStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        received += await client.receive(size - len(received))
    return bytes(received)


async def test_bytes_pass_in_both_directions_and_are_counted() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy, await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
            message = bytes(range(256)) * 4096

            async with anyio.create_task_group() as tg:
                tg.start_soon(client.send, message)
                assert await receive_exactly(client, len(message)) == message

            assert proxy.statistics().connections == 1
            assert proxy.statistics().accepted == 1
            await exchange(client, b"x")
            assert proxy.statistics().forwarded >= 2 * len(message)


async def test_an_end_of_stream_passes_while_the_answer_still_arrives() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy, await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
            await client.send(b"last words")
            await client.send_eof()

            assert await receive_exactly(client, 10) == b"last words"
            with pytest.raises(anyio.EndOfStream):
                await client.receive()


async def test_a_cut_resets_open_connections_and_accepts_new_ones() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy:
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                await exchange(client, b"before")

                proxy.cut()

                with pytest.raises(anyio.BrokenResourceError) as broken:
                    await client.receive()
                assert isinstance(broken.value.__cause__, ConnectionResetError)
                assert proxy.statistics().connections == 0
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                assert await exchange(client, b"after") == b"after"


async def test_a_cut_resets_the_server_side_too() -> None:
    with anyio.fail_after(10):
        async with listening() as (port, served), FaultProxy("127.0.0.1", port) as proxy:
            async with await anyio.connect_tcp("127.0.0.1", proxy.port), await served.receive() as server:
                proxy.cut()

                with pytest.raises(anyio.BrokenResourceError):
                    await server.receive()


async def test_a_reset_by_the_client_reaches_the_server() -> None:
    with anyio.fail_after(10):
        async with listening() as (port, served), FaultProxy("127.0.0.1", port) as proxy:
            client = await anyio.connect_tcp("127.0.0.1", proxy.port)
            async with await served.receive() as server:
                raw = client.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await client.aclose()

                with pytest.raises(anyio.BrokenResourceError):
                    await server.receive()


async def test_a_blackhole_holds_bytes_back_until_it_is_restored() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy, await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
            await exchange(client, b"before")
            forwarded = proxy.statistics().forwarded

            proxy.blackhole()
            proxy.blackhole()
            await client.send(b"one ")
            await client.send(b"two")
            await anyio.wait_all_tasks_blocked()

            assert proxy.statistics().forwarded == forwarded
            assert proxy.statistics().connections == 1
            proxy.restore()
            proxy.restore()
            assert await receive_exactly(client, 7) == b"one two"


async def test_a_blackhole_accepts_new_connections_and_serves_them_when_restored() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy:
            proxy.blackhole()
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                await client.send(b"anybody?")
                await anyio.wait_all_tasks_blocked()
                assert proxy.statistics().forwarded == 0

                proxy.restore()

                assert await receive_exactly(client, 8) == b"anybody?"


async def test_a_cut_ends_blackholed_connections() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy, await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
            await exchange(client, b"before")
            proxy.blackhole()
            await client.send(b"lost")

            proxy.cut()

            with pytest.raises(anyio.BrokenResourceError):
                await client.receive()


async def test_refused_connections_are_reset_and_open_ones_go_on() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy, await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
            await exchange(client, b"before")

            proxy.refuse()

            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as refused:
                with pytest.raises(anyio.BrokenResourceError):
                    await refused.receive()
            assert await exchange(client, b"still here") == b"still here"
            proxy.accept()
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as accepted:
                assert await exchange(accepted, b"again") == b"again"


async def test_a_client_is_reset_when_the_server_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with anyio.fail_after(10):
            async with FaultProxy("127.0.0.1", taken.getsockname()[1]) as proxy:
                async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                    with pytest.raises(anyio.BrokenResourceError):
                        await client.receive()


@pytest.mark.usefixtures("no_leaked_tasks")
async def test_the_end_of_the_block_resets_connections_and_frees_the_port() -> None:
    with anyio.fail_after(10):
        async with echo_behind_proxy() as proxy:
            client = await anyio.connect_tcp("127.0.0.1", proxy.port)
            await exchange(client, b"before")
        async with client:
            with pytest.raises(anyio.BrokenResourceError):
                await client.receive()
        with pytest.raises(OSError, match=r"(?i)connect"):
            await anyio.connect_tcp("127.0.0.1", proxy.port)
