"""A server in a process with few descriptors: `python -m tests.http.few_descriptors BACKEND LIMIT` prints its port."""

from __future__ import annotations

import resource
import sys
from typing import Any

import anyio
from litestar import Litestar, get

from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve


@get("/")
async def answer() -> str:
    return "ok"


async def main() -> None:
    app: Any = Litestar([answer], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    async with anyio.create_task_group() as tg:
        url = await tg.start(serve, app, ListenAddress())
        print(url.rpartition(":")[2], flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), hard))
    anyio.run(main, backend=sys.argv[1])
