"""Big bodies beside small ones: their duration, and the latency of other clients of the same gateway meanwhile.

    python -m benchmarks.bodies [--backend trio] [--megabytes 4]

The gateway runs in a process of its own, over the embedded broker and store, with an instance that answers with what it
was asked. Bodies of each kind are called one after the other, for some seconds, as fast as the gateway answers, while
another client submits a small task every 10 ms on a connection of its own. `alone` is that client with nothing beside
it. Sizes are those of the JSON; the kinds are those that cost most per byte, and the two that cost least.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto, FileDescriptorSet

from benchmarks.batches import SUBMIT
from hub.concurrency.process import SWITCH_INTERVAL
from hub.contract import Contract
from hub.contract.descriptors.pool import build_pool
from hub.types import ModelName
from tests.gateway.fixtures import open_gateway
from tests.gateway.wire import serving

SECONDS = 4.0
PERIOD = 0.01
BIG = ModelName("Big")


def bodies(size: int) -> Mapping[str, bytes]:
    """A document of about `size` bytes of each kind."""
    rows = size // 29
    return {
        "Struct": json.dumps({"st": {"rows": [[i, i * 1.5, str(i)] for i in range(rows)]}}).encode(),
        "map": json.dumps({"counts": {f"k{i}": i for i in range(size // 18)}}).encode(),
        "messages": b'{"x":[' + b",".join([b"{}"] * (size // 3)) + b"]}",
        "wrong": b'{"x":[' + b",".join([b'{"q":1}'] * (size // 8)) + b"]}",
        "malformed": b'{"x":[' + b",".join([b"{}"] * (size // 3)) + b",]}",
        "floats": json.dumps({"v": [i * 0.5 for i in range(size // 10)]}).encode(),
        "string": json.dumps({"s": "abc " * (size // 4)}).encode(),
    }


def message() -> Descriptor:
    file = FileDescriptorProto(name="big.proto", package="bench.v1", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    big = file.message_type.add(name="Big")
    entry = big.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=Field.TYPE_INT32, label=Field.LABEL_OPTIONAL)
    fields: tuple[tuple[str, Field.Type.ValueType, str, bool], ...] = (
        ("st", Field.TYPE_MESSAGE, ".google.protobuf.Struct", False),
        ("counts", Field.TYPE_MESSAGE, ".bench.v1.Big.CountsEntry", True),
        ("x", Field.TYPE_MESSAGE, ".bench.v1.Big", True),
        ("v", Field.TYPE_FLOAT, "", True),
        ("s", Field.TYPE_STRING, "", False),
    )
    for number, (name, kind, type_name, repeated) in enumerate(fields, start=1):
        label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        big.field.add(name=name, number=number, type=kind, type_name=type_name or None, label=label)
    struct = FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct)
    return build_pool(FileDescriptorSet(file=[file, struct])).FindMessageTypeByName("bench.v1.Big")


async def serve() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL)  # as every process of hub does
    async with open_gateway(publish_timeout=15, call_wait=60, body_limit=2**30) as gateway:
        await gateway.model()
        await gateway.model(BIG, Contract.from_descriptors(message(), message()), answer=lambda body: body)
        async with serving(gateway) as url:
            print(url, flush=True)
            await anyio.sleep_forever()


async def connected(url: str) -> tuple[SocketStream, BufferedByteReceiveStream]:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    stream = await anyio.connect_tcp(address.hostname, address.port)
    return stream, BufferedByteReceiveStream(stream)


async def exchange(stream: SocketStream, replies: BufferedByteReceiveStream, request: bytes) -> int:
    """The status of the reply, once it is complete."""
    await stream.send(request)
    head = (await replies.receive_until(b"\r\n\r\n", 65536)).lower()
    await replies.receive_exactly(int(head.partition(b"content-length: ")[2].partition(b"\r")[0]))
    return int(head.split(b" ", 2)[1])


async def others(url: str, waits: list[float]) -> None:
    stream, replies = await connected(url)
    async with stream:
        while True:
            began = time.perf_counter()
            assert await exchange(stream, replies, SUBMIT) == 202
            waits.append(time.perf_counter() - began)
            await anyio.sleep(PERIOD)


async def beside(url: str, name: str, body: bytes) -> None:
    head = b"POST /v1/models/Big HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    request = head % len(body) + body
    waits: list[float] = []
    calls: list[float] = []
    status = 0
    stream, replies = await connected(url)
    async with stream, anyio.create_task_group() as tg:
        tg.start_soon(others, url, waits)
        end = time.perf_counter() + SECONDS
        if not body:
            await anyio.sleep(SECONDS)
        while body and time.perf_counter() < end:
            began = time.perf_counter()
            status = await exchange(stream, replies, request)
            calls.append(time.perf_counter() - began)
        tg.cancel_scope.cancel("measured")
    waits.sort()
    call = f"{status} in {sum(calls) / len(calls):6.3f} s" if calls else ""
    print(
        f"  {name:10s} {len(body) / 1e6:5.1f} MB {call:15s}   others wait: half {waits[len(waits) // 2] * 1e3:6.1f} ms,"
        f" p95 {waits[math.ceil(len(waits) * 0.95) - 1] * 1e3:6.1f} ms, longest {waits[-1] * 1e3:6.0f} ms",
        flush=True,
    )


async def measure(url: str, size: int) -> None:
    await beside(url, "alone", b"")
    for name, body in bodies(size).items():
        await beside(url, name, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"use_uvloop": True} if arguments.backend == "asyncio" else {}
    if arguments.serve:
        anyio.run(serve, backend=arguments.backend, backend_options=options)
        return
    command = [sys.executable, "-m", "benchmarks.bodies", "--backend", arguments.backend, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            while not (line := server.stdout.readline()).startswith("http://"):
                assert line, "the gateway has ended"
            print(f"hub on {arguments.backend}, bodies of {arguments.megabytes:g} MB")
            anyio.run(measure, line.strip(), int(arguments.megabytes * 1e6))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
