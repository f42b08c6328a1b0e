"""A load generator that costs less CPU than the server: one process, plain connections, requests that are encoded once.

    python -m benchmarks.load_generator URL MODEL OUTPUT --seconds 10 [--rate 300 | --callers 64]

With a rate the load is open: each call has a time at which it is due, takes an idle connection or a new one, and its latency
counts from that time, whether earlier calls are answered or not. With callers the load is closed: each caller waits for its
answer before its next call. Writes the results as JSON: `{"statuses": {...}, "served": [...], "refused": [...]}`,
times in seconds. After `--seconds` it waits for open calls, for `--timeout` seconds at most.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import Counter, deque
from pathlib import Path
from typing import Final, cast, final
from urllib.parse import urlsplit

import msgspec
import uvloop
from typing_extensions import override

CONNECTIONS: Final = 4000
"""Connections at most; a call without one is counted as `not sent`."""

TICK: Final = 0.002
"""Seconds between two checks for due calls."""

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@final
class Results:
    def __init__(self) -> None:
        self.statuses = Counter[str]()
        self.served: list[float] = []
        self.refused: list[float] = []
        self.open = 0

    def note(self, status: str, seconds: float) -> None:
        self.open -= 1
        self.statuses[status] += 1
        (self.served if status == "200" else self.refused).append(seconds)


@final
class Client(asyncio.Protocol):
    """One connection; at most one call at a time."""

    def __init__(self, generator: LoadGenerator) -> None:
        self._generator = generator
        self._buffer = b""
        self._due: float | None = None
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a TCP connection, whatever class uvloop makes it of

    def call(self, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(self._generator.request)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head = self._buffer[: end + 2]
        length = _LENGTH.search(head)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return
        self._buffer = self._buffer[size:]
        status = head[9:12].decode()
        if status == "100" or self._due is None:
            return
        due, self._due = self._due, None
        if _CLOSES.search(head):
            self.close()
        self._generator.answered(self, status, due, reusable=not _CLOSES.search(head))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.lost(self)
        if self._due is not None:
            due, self._due = self._due, None
            self._generator.answered(self, "connection lost", due, reusable=False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@final
class LoadGenerator:
    def __init__(self, url: str, model: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        body = msgspec.json.encode({"messages": "x" * 100})
        self.request: Final = (
            f"POST /v1/models/{model} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.tally: Final = Results()
        self._idle: deque[Client] = deque()
        self._connections = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recall = False

    async def steady(self, rate: float, seconds: float) -> None:
        began, number = self._loop.time(), 0
        while (now := self._loop.time()) < began + seconds:
            while (due := began + number / rate) <= now:
                number += 1
                self._begin(due)
            await asyncio.sleep(TICK)

    async def callers(self, count: int, seconds: float) -> None:
        self._recall = True
        for _ in range(count):
            self._begin(self._loop.time())
        await asyncio.sleep(seconds)
        self._recall = False

    async def rest(self, seconds: float) -> None:
        """Waits for open calls."""
        give_up = self._loop.time() + seconds
        while self.tally.open and self._loop.time() < give_up:  # noqa: ASYNC110 - an event a call would cost more
            await asyncio.sleep(0.05)
        if self.tally.open:
            self.tally.statuses["no answer"] += self.tally.open

    def answered(self, client: Client, status: str, due: float, *, reusable: bool) -> None:
        self.tally.note(status, self._loop.time() - due)
        if reusable:
            self._idle.append(client)
        if self._recall:
            self._begin(self._loop.time())

    def lost(self, client: Client) -> None:
        self._connections -= 1
        if client in self._idle:
            self._idle.remove(client)

    def _begin(self, due: float) -> None:
        if not self._idle and self._connections >= CONNECTIONS:
            self.tally.statuses["not sent"] += 1
            return
        self.tally.open += 1
        if self._idle:
            self._idle.pop().call(due)
        else:
            self._connections += 1
            task = self._loop.create_task(self._connect(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, due: float) -> None:
        try:
            _, client = await self._loop.create_connection(lambda: Client(self), self.host, self.port)
        except OSError as error:
            self._connections -= 1
            self.tally.note(type(error).__name__, self._loop.time() - due)
        else:
            client.call(due)


async def offer(arguments: argparse.Namespace) -> bytes:
    generator = LoadGenerator(arguments.url, arguments.model)
    if arguments.rate:
        await generator.steady(arguments.rate, arguments.seconds)
    else:
        await generator.callers(arguments.callers, arguments.seconds)
    await generator.rest(arguments.timeout)
    tally = generator.tally
    return msgspec.json.encode({"statuses": tally.statuses, "served": tally.served, "refused": tally.refused})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=30.0)
    arguments = parser.parse_args()
    arguments.output.write_bytes(uvloop.run(offer(arguments)))


if __name__ == "__main__":
    main()
