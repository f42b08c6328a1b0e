"""Requests over HTTP for `benchmarks.peers`, driven over standard input as `benchmarks.peers.driver` is.

    python -m benchmarks.peers.http_load http://127.0.0.1:8000/v1/models/BenchEcho

`{"tasks": 3000, "in_flight": 32, "size": 100}` sends requests over that many connections, each with a body of its own, and
compares the replies. With `"accepted": true` the reply has to be a success and is not compared. `{"streams": 200, "chunks": 150,
"per_second": 50}` reads streams of server-sent events. Plain connections and httptools: it costs a fraction of any server here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final, cast, final
from urllib.parse import urlsplit

import httptools
import uvloop
from typing_extensions import override

from benchmarks.peers.driver import FINAL, say, summary
from benchmarks.peers.ledger import NUMBER, Ledger

SETTLE: Final = 60.0
"""Seconds until all tasks that were accepted have run."""

_REPLY: Final = re.compile(rb"\d+:\d+:\w+")
_CHUNK: Final = re.compile(rb'"text": ?"(\d{%d})x*"' % NUMBER)


@final
class Connection(asyncio.Protocol):
    """One connection with at most one request at a time."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._tail = b""
        self.chunks: list[int] | None = None
        self.closed = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the reply."""
        assert self._transport is not None
        self.reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self.reply

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.chunks is None:
            self._body += body
            return
        text = self._tail + body
        end = text.rfind(b"\n\n") + 1
        self.chunks += map(int, _CHUNK.findall(text[:end]))
        self._tail = text[end:]
        self._body += body[-200:]

    def on_message_complete(self) -> None:
        reply, self.reply = self.reply, None
        status, body = self._parser.get_status_code(), bytes(self._body)
        self._body.clear()
        if not self._parser.should_keep_alive():
            self.close()
        self._parser = httptools.HttpResponseParser(self)
        if reply is not None and not reply.done():
            reply.set_result((status, body))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(exc or ConnectionError("the server has closed the connection"))

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()


@final
class Load:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.path = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self.ledger = Ledger()
        self.idle: deque[Connection] = deque()

    def request(self, body: bytes, accept: str = "application/json", path: str = "") -> bytes:
        return (
            f"POST {path or self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Accept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed:
                return connection
        return (await asyncio.get_running_loop().create_connection(Connection, self.host, self.port))[1]

    async def send(self, command: dict[str, Any]) -> dict[str, Any]:
        """Requests that are answered."""
        accepted, path = command.get("accepted", False), command.get("path", "")
        size, numbers, times = command["size"], iter(range(command["tasks"])), list[float]()
        connections = [await self.connection() for _ in range(command["in_flight"])]

        async def caller(connection: Connection) -> None:
            for _ in numbers:
                if connection.closed:
                    connection = await self.connection()
                text = self.ledger.body(size)
                request = self.request(b'{"messages":"%b"}' % text.encode(), path=path)
                began = perf_counter()
                status, body = await connection.send(request)
                times.append(perf_counter() - began)
                if not 200 <= status < 300:
                    self.ledger.wrong.append(f"status {status}: {body[:200]!r}")
                if accepted:
                    self.ledger.answered += 1
                else:
                    found = _REPLY.search(body)
                    self.ledger.note(text, found[0].decode() if found else "")
            self.idle.append(connection)

        began = perf_counter()
        async with asyncio.TaskGroup() as tg:
            for connection in connections:
                tg.create_task(caller(connection))
        return summary(times, perf_counter() - began)

    async def check(self) -> dict[str, Any]:
        """Calls until the workers have made as many runs as tasks were sent: those of accepted tasks may still be queued."""
        until = perf_counter() + SETTLE
        call = {"tasks": FINAL, "in_flight": 1, "size": 100}
        await self.send(call)
        while self.ledger.runs < self.ledger.sent and perf_counter() < until:
            await asyncio.sleep(0.2)
            await self.send(call)
        return {"sent": self.ledger.sent, "problems": list(self.ledger.problems())}

    async def wait(self, seconds: float) -> dict[str, Any]:
        """Calls until a call is answered: a model may not be known yet. Those that are not answered do not count."""
        until = perf_counter() + seconds
        while True:
            text = self.ledger.body(100)
            connection = await self.connection()
            status, body = await connection.send(self.request(b'{"messages":"%b"}' % text.encode()))
            found = _REPLY.search(body)
            if status == 200 and found:
                self.ledger.note(text, found[0].decode())
                self.idle.append(connection)
                return {"ready": True}
            self.ledger.sent -= 1
            connection.close()
            if perf_counter() > until:
                return {"error": f"no answer to a call: {status} {body[:300]!r}"}
            await asyncio.sleep(0.2)

    async def streams(self, command: dict[str, Any]) -> dict[str, Any]:
        """Streams that are read at the same time."""
        count, chunks = command["streams"], command["chunks"]
        body = json.dumps({"words": chunks, "words_per_second": command["per_second"]}).encode()
        request = self.request(body, "text/event-stream", command["path"])
        connections = [await self.connection() for _ in range(count)]
        for connection in connections:
            connection.chunks = []
        began = perf_counter()
        replies = await asyncio.gather(*(connection.send(request) for connection in connections))
        seconds = perf_counter() - began
        expected = list(range(1, chunks + 1))
        wrong = sum(connection.chunks != expected for connection in connections)
        odd = [body[-200:].decode(errors="replace") for status, body in replies if status != 200]
        for connection in connections:
            connection.close()
        problems = [f"{wrong} of {count} streams had not each chunk once and in order"] if wrong else []
        return {
            "tasks": count * chunks,
            "seconds": seconds,
            "rate": count * chunks / seconds,
            "problems": problems + odd[:3],
        }

    async def serve(self) -> None:
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            if command.get("check"):
                say(await self.check())
            elif "wait" in command:
                say(await self.wait(command["wait"]))
            elif "streams" in command:
                say(await self.streams(command))
            else:
                say(await self.send(command))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    load = Load(parser.parse_args(arguments).url)
    uvloop.run(load.serve())


if __name__ == "__main__":
    main()
