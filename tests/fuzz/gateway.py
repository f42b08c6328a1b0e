"""A running gateway as a target: malformed heads and documents over raw sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Literal

from tests.fuzz.campaign import Target, resident, run_delay
from tests.fuzz.decoders import DOCUMENTS
from tests.support.server import free_port

Backend = Literal["asyncio", "trio"]

BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")

START: Final = 60.0
"""Seconds for the start of the process."""

REPLY_TIMEOUT: Final = 8.0
"""Seconds without a byte after which a reply counts as none. A reply that takes more than `HANG` is a finding before that,
unless it is the machine that is busy."""

QUIET: Final = 0.05
"""Seconds without a byte after which there is no reply: the server waits for the rest of the request."""

_ROOT: Final = Path(__file__).parents[2]
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_ALLOWED: Final = (501, 503, 505)
"""Allowed statuses from 500 on: not implemented, overloaded, HTTP version not supported."""

HEADS: Final = (
    b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/models/ModelA HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\nPrefer: wait=0\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=0.0.4\r\n\r\n",
    b"GET /v1/tasks?state=failed&limit=5 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (
        b"GET /v1/tasks/01890000-0000-7000-8000-000000000001 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\r\n"
        b"Accept: text/event-stream\r\n\r\n"
    ),
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (
        b"POST /v1/models/ModelA/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nHub-Timeout: 2\r\n"
        b'Content-Length: 17\r\n\r\n{"messages": "x"}'
    ),
    (
        b"POST /v1/models/ModelA/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n12\r\n{"messages": "x"}\n\r\n0\r\n\r\n'
    ),
    b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br;q=0.5\r\nConnection: close\r\n\r\n",
)


@contextmanager
def running_gateway(backend: Backend, folder: Path) -> Generator[Sequence[Target]]:
    """Runs `hub up` with ModelA while the block runs; yields the targets of its gateway.

    Raises:
        AssertionError: It ended by itself, or did not start.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {"HUB_BACKEND": backend, "HUB_GATEWAY_PORT": f"{port}", "HUB_REGISTRY_PORT": f"{free_port()}"}
    command = [sys.executable, "-m", "hub", "up", "examples.model_a:ModelA", "--dashboard-port", "0"]
    log = folder / f"up-{backend}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=file, stderr=file)
    try:
        _until_ready(process, port, log)
        memory = partial(resident, process.pid)

        def delay() -> float:
            return run_delay() + run_delay(process.pid)  # one of the two waits for the other

        yield [
            Target(f"heads-{backend}", "heads", HEADS, partial(_head, port), memory, delay),
            Target(f"documents-{backend}", "json", DOCUMENTS, partial(_document, port), memory, delay),
        ]
        assert process.poll() is None, f"the gateway ended with {process.returncode}; {log.read_text()[-2000:]}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _head(port: int, data: bytes) -> None:
    reply = _exchange(port, data, timeout=QUIET)
    _check(reply)
    _probe(port)


def _document(port: int, data: bytes) -> None:
    head = (
        "POST /v1/models/ModelA HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    reply = _exchange(port, head.encode() + data, timeout=REPLY_TIMEOUT)
    assert _STATUS.match(reply), f"no reply to a complete request: {reply[:100]!r}"
    _check(reply)
    if reply[9:12] != b"200":
        assert b"application/problem+json" in reply.lower(), f"a refusal without a problem document: {reply[:300]!r}"


def _check(reply: bytes) -> None:
    for status in map(int, _STATUS.findall(reply)):
        assert status < 500 or status in _ALLOWED, f"status {status}: {reply[:400]!r}"


def _probe(port: int) -> None:
    """Checks that the gateway still answers other clients at once."""
    reply = _exchange(
        port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", timeout=REPLY_TIMEOUT
    )
    assert reply.startswith(b"HTTP/1.1 200"), f"the gateway does not answer other clients any more: {reply[:100]!r}"


def _exchange(port: int, data: bytes, *, timeout: float) -> bytes:
    """Sends `data`; the bytes received until the server closes the connection or sends nothing for `timeout` seconds."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=REPLY_TIMEOUT) as link:
        link.settimeout(REPLY_TIMEOUT)
        try:
            link.sendall(data)
            link.settimeout(timeout)
            while (piece := link.recv(65536)) and len(received) < 1 << 20:
                received += piece
        except OSError:  # reset, or no bytes for `timeout` seconds
            pass
    return bytes(received)


def _until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and process.poll() is None:
        try:
            reply = _exchange(
                port,
                b"GET /v1/models/ModelA HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                timeout=REPLY_TIMEOUT,
            )
        except OSError:
            reply = b""
        if b" 200 " in reply[:20]:
            return
        time.sleep(0.1)
    raise AssertionError(f"hub up did not start: {log.read_text()[-2000:]}")
