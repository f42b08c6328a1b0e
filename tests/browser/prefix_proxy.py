"""A reverse proxy that shows a server below a path, as nginx and ingresses do: it cuts the path off, or passes it on."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from typing_extensions import override

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


@dataclass(slots=True)
class PrefixProxy:
    """Where it answers, and the paths that were asked of it outside of the prefix."""

    url: str
    outside: list[str] = field(default_factory=list[str])


@contextmanager
def prefix_proxy(upstream: str, prefix: str, *, strip: bool) -> Generator[PrefixProxy]:
    """A proxy for `upstream`, with a connection to it for each request; leaving the block ends it."""
    address = urlsplit(upstream).netloc
    proxy = PrefixProxy("")

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if self.path != prefix and not self.path.startswith((f"{prefix}/", f"{prefix}?")):
                proxy.outside.append(self.path)
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            path = (self.path.removeprefix(prefix) or "/") if strip else self.path
            connection = http.client.HTTPConnection(address)
            try:
                connection.request(self.command, path, body, headers | {"Host": self.headers["host"]})
                self.answer(connection.getresponse())
            except (BrokenPipeError, ConnectionResetError):
                pass  # a browser leaves its streams without a word
            finally:
                connection.close()

        def answer(self, reply: http.client.HTTPResponse) -> None:
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while chunk := reply.read1():
                self.wfile.write(chunk)

        do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = forward  # noqa: N815 - the names that http.server calls

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_port}{prefix}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join(10)
