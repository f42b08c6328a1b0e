"""Instances and contracts for tests of the registry."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
from litestar import Litestar, Request, Response, get

from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.ports.directory import InstanceEntry
from hub.registry.core.ping_result import PingOk, PingResult
from hub.stats import InstanceStats
from hub.types import InstanceId, ModelName, new_instance_id

TIMEOUT: Final = 30.0
"""Seconds after which a test that hangs fails; nothing here takes one."""

TEXTS: Final[Contract] = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
DIGITS: Final[Contract] = Contract.from_descriptors(DigitsRequest.DESCRIPTOR, DigitsResponse.DESCRIPTOR)

MODEL: Final = ModelName("ModelA")


def entry_of(
    model: str = MODEL,
    *,
    contract: Contract = TEXTS,
    url: str = "http://127.0.0.1:9",
    at: float = 1.0,
    id: InstanceId | None = None,  # noqa: A002 - the field's name
) -> InstanceEntry:
    return InstanceEntry(
        id=id or new_instance_id(),
        model=ModelName(model),
        url=url,
        fingerprint=contract.fingerprint,
        logged_in_at=at,
    )


@dataclass
class ScriptedProbe:
    """Answers pings by instance: with what `results` says, else that it lives. `pinged` is who was asked, in order.

    An instance that is in `hanging` gives no answer ever.
    """

    results: dict[InstanceId, PingResult] = field(default_factory=dict[InstanceId, PingResult])
    hanging: set[InstanceId] = field(default_factory=set[InstanceId])
    pinged: list[tuple[float, InstanceId]] = field(default_factory=list[tuple[float, InstanceId]])

    async def __call__(self, entry: InstanceEntry) -> PingResult:
        self.pinged.append((anyio.current_time(), entry.id))
        if entry.id in self.hanging:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return self.results.get(entry.id, PingOk())

    def times(self, instance: InstanceId) -> list[float]:
        return [when for when, who in self.pinged if who == instance]


@dataclass
class PingServer:
    """A real HTTP server that answers pings as one instance, unless it is `silent`; all may be changed at any time."""

    id: InstanceId
    url: str = ""
    consuming: bool = True
    silent: bool = False
    stats: InstanceStats | None = None
    pings: int = 0
    tokens: list[str] = field(default_factory=list[str])
    news: anyio.Event = field(default_factory=anyio.Event)


@asynccontextmanager
async def ping_server(instance: InstanceId | None = None) -> AsyncGenerator[PingServer]:
    """An instance as far as the registry can see. After the block its address refuses connections."""
    it = PingServer(instance or new_instance_id())

    @get("/ping")
    async def ping(request: Request[Any, Any, Any]) -> Response[dict[str, object]]:
        it.pings += 1
        it.tokens.append(request.headers.get("authorization", ""))
        it.news.set()
        it.news = anyio.Event()
        while it.silent:
            await anyio.sleep(0.01)
        return Response(
            {
                "instance": it.id,
                "model": "any",
                "consuming": it.consuming,
                "reason": "" if it.consuming else "no link",
                "stats": it.stats,
            },
            status_code=200 if it.consuming else 503,
        )

    app = Litestar([ping], openapi_config=None, logging_config=None)
    async with background_service(partial(serve, app, ListenAddress(), grace=0.1), name="ping server") as url:
        it.url = url
        yield it
