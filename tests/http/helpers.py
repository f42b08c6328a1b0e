"""An application with routes of all kinds behind `hub.http.middleware.edge`."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from copy import copy
from functools import cache, partial
from typing import Any, cast

import anyio
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar, Request, Response, delete, get, post
from litestar.params import FromPath
from litestar.response import Stream

from hub.concurrency.services import background_service
from hub.http.client import open_client
from hub.http.headers import etag_matches
from hub.http.middleware.compression import IN_THREAD
from hub.http.middleware.edge import with_edge
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve

LIMIT = 100_000
TEXT = b"[%s]" % b",".join(b'{"number":%d}' % number for number in range(1000))
LARGE = TEXT.ljust(4 * IN_THREAD)
GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}


@get("/document/{size:int}")
async def document(request: Request[Any, Any, Any], size: FromPath[int]) -> Response[bytes]:
    etag = f'"{size}"'
    headers = {"ETag": etag, "Vary": "Accept"}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(LARGE[:size], media_type="application/json", headers=headers)


@get("/typed")
async def typed(request: Request[Any, Any, Any]) -> Response[bytes]:
    headers = {"Cache-Control": request.query_params.get("cache", "no-cache")}
    return Response(TEXT, media_type=request.query_params["type"], headers=headers)


@get("/packed")
async def packed() -> Response[bytes]:
    return Response(gzip.compress(TEXT), media_type="text/css", headers={"Content-Encoding": "gzip"})


@get("/stream")
async def stream() -> Stream:
    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
            yield TEXT

    return Stream(chunks, media_type="text/event-stream")


@get("/empty", status_code=204)
async def empty() -> None:
    return


@get("/both/{name:str}")
async def look(name: FromPath[str]) -> str:
    return name


@post("/both/{name:str}")
async def give(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    return Response(name.encode() + b":" + await request.body())


@delete("/both/{name:str}/never")
async def remove(name: FromPath[str]) -> None:
    raise AssertionError(name)


@post("/echo", status_code=200)
async def echo(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(
        await request.body(), media_type="application/octet-stream", headers={"Seen": ",".join(request.headers)}
    )


@cache
def _routes() -> Litestar:
    return Litestar(
        [document, typed, packed, stream, empty, look, give, remove, echo],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=LIMIT,
        openapi_config=None,
        logging_config=None,
    )


def application(**edge: Any) -> Litestar:
    return with_edge(copy(_routes()), body_limit=LIMIT, **edge)


@asynccontextmanager
async def asking(**edge: Any) -> AsyncGenerator[AsyncClient]:
    """A client of the application, which does not decode what it gets."""
    transport = ASGITransport(app=cast("Any", application(**edge)))
    async with AsyncClient(transport=transport, base_url="http://hub.localhost", headers=PLAIN) as client:
        yield client


@asynccontextmanager
async def served() -> AsyncGenerator[AsyncClient]:
    """A client of the application behind the server of the backend."""
    with anyio.fail_after(30):
        async with (
            background_service(partial(serve, application(), ListenAddress()), name="served") as url,
            open_client() as client,
        ):
            client.base_url = url
            yield client
