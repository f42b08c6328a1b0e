"""Tasks a second into a gateway over HTTP: lines of one batch compared with single submits, in the same run.

    python -m benchmarks.batches [--backend trio]

The gateway runs in a process of its own, over the embedded broker and store (as in `hub up`), with no instance that takes
tasks. So the figures are the price of accepting over HTTP and nothing else; a real broker and store add round trips, which
both kinds share among many tasks. The client is as cheap as can be: bytes made beforehand, no HTTP library for single
submits, of which 64 are under way at a time on connections that stay open. It shares the machine with the gateway.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.gateway.fixtures import open_gateway
from tests.gateway.wire import exchange, serving

CONNECTIONS = 64
LINE = b'{"messages":"%s"}' % (b"x" * 100)
PIECE = 100
HEADERS = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}
SUBMIT = (
    b"POST /v1/models/ModelA/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s"
) % (len(LINE), LINE)


async def serve() -> None:
    async with open_gateway(publish_timeout=15) as gateway:
        await gateway.model()
        async with serving(gateway) as url:
            print(url, flush=True)
            await anyio.sleep_forever()


async def batch(url: str, count: int) -> float:
    """Seconds from the first line to the last answer."""
    async with exchange(url, "POST", "/v1/models/ModelA/batches", HEADERS) as reply:

        async def write() -> None:
            for _ in range(count // PIECE):
                await reply.write((LINE + b"\n") * PIECE)
            await reply.end()

        began = time.perf_counter()
        async with anyio.create_task_group() as tg:
            tg.start_soon(write)
            assert await reply.head() == 200
            answers = 0
            while (line := await reply.line()) is not None:
                assert b'"id"' in line, line
                answers += 1
        assert answers == count
        return time.perf_counter() - began


async def singles(url: str, count: int) -> float:
    """Seconds for `count` submits."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None

    async def client(stream: SocketStream) -> None:
        buffered = BufferedByteReceiveStream(stream)
        for _ in range(count // CONNECTIONS):
            await stream.send(SUBMIT)
            head = (await buffered.receive_until(b"\r\n\r\n", 4096)).lower()
            assert head.startswith(b"http/1.1 202"), head
            await buffered.receive_exactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
        await stream.aclose()

    streams = [await anyio.connect_tcp(address.hostname, address.port) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    async with anyio.create_task_group() as tg:
        for stream in streams:
            tg.start_soon(client, stream)
    return time.perf_counter() - began


async def measure(url: str, count: int, label: str) -> None:
    await batch(url, 1000)
    await singles(url, CONNECTIONS * 10)
    lines = await batch(url, count)
    submits = count // CONNECTIONS * CONNECTIONS
    single = await singles(url, submits)
    print(
        f"{label:20s} {count / lines:8.0f} lines/s of one batch of {count};"
        f" {submits / single:8.0f} single submits/s, {CONNECTIONS} at a time"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"use_uvloop": True} if arguments.backend == "asyncio" else {}
    if arguments.serve:
        anyio.run(serve, backend=arguments.backend, backend_options=options)
        return
    command = [sys.executable, "-m", "benchmarks.batches", "--backend", arguments.backend, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            while not (line := server.stdout.readline()).startswith("http://"):
                assert line, "the gateway has ended"
            anyio.run(measure, line.strip(), arguments.count, f"hub on {arguments.backend}")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
