"""A registry that only writes down who logged in and out, behind real HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
from litestar import Litestar, Response, delete, put
from litestar.params import FromPath, JSONBody

from hub.concurrency.services import background_service
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.registry.client.errors import NameTaken
from hub.registry.client.schemas import InstanceBody, LoginBody
from hub.types import InstanceState


@dataclass
class FakeRegistry:
    """What was asked of it, in order. `taken` refuses logins; `requested` is set at the next request."""

    url: str = ""
    taken: bool = False
    logins: list[tuple[str, LoginBody]] = field(default_factory=list[tuple[str, LoginBody]])
    logouts: list[str] = field(default_factory=list[str])
    requested: anyio.Event = field(default_factory=anyio.Event)

    def note(self) -> None:
        self.requested.set()
        self.requested = anyio.Event()


@asynccontextmanager
async def fake_registry() -> AsyncGenerator[FakeRegistry]:
    it = FakeRegistry()

    @put("/v1/instances/{instance:str}", status_code=200)
    async def login(instance: FromPath[str], data: JSONBody[LoginBody]) -> InstanceBody:
        it.logins.append((instance, data))
        it.note()
        if it.taken:
            raise NameTaken(data.model, ["request field 'messages' has another type"], ["http://10.0.0.7:1"])
        return InstanceBody(
            id=instance,
            model=data.model,
            url=data.url,
            fingerprint="",
            state=InstanceState.LIVE,
            reason="",
            misses=0,
            logged_in_at=1.0,
            answered_at=1.0,
        )

    @delete("/v1/instances/{instance:str}", status_code=204)
    async def logout(instance: FromPath[str]) -> Response[None]:
        it.logouts.append(instance)
        it.note()
        return Response(None, status_code=204)

    app = Litestar([login, logout], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    async with background_service(partial(serve, app, ListenAddress()), name="fake_registry") as url:
        it.url = url
        yield it
