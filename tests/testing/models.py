"""Models for the tests of the test kit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import anyio
from typing_extensions import override

import hub
import hub.testing
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

TIMEOUT: Final = 20.0
"""Seconds of the clock of the test."""


@asynccontextmanager
async def running(
    *models: type[hub.Model[Any, Any]], virtual_time: bool = False, seconds: float = TIMEOUT
) -> AsyncGenerator[hub.testing.LocalClient]:
    """`hub.testing.run`, with a limit for the block."""
    with anyio.fail_after(seconds):
        async with hub.testing.run(*models, virtual_time=virtual_time) as client:
            yield client


class Echo(hub.Model[ModelARequest, ModelAResponse]):
    """`fail`, `sleep SECONDS`, `attempt` and `progress` do what they say; other texts come back."""

    concurrency = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        match request.messages.split():
            case ["fail"]:
                raise ValueError("as it was told")
            case ["sleep", seconds]:
                await anyio.sleep(float(seconds))
            case ["first", "sleep", seconds] if hub.current_task().attempt == 1:
                await anyio.sleep(float(seconds))
            case ["progress"]:
                hub.current_task().report(0.5, "half")
                await anyio.sleep_forever()
            case _:
                pass
        return ModelAResponse(reply=f"{request.messages} {hub.current_task().attempt}")


class Plain(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages.upper())


class Batched(hub.Model[ModelARequest, ModelAResponse]):
    max_batch_wait = 60.0

    @override
    async def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        return [ModelAResponse(reply=f"{request.messages} of {len(requests)}") for request in requests]


class Words(hub.Model[ModelARequest, ModelAResponse]):
    """Yields the words of its request; `stop` waits for ever in the first attempt, `fail` raises."""

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        for word in request.messages.split():
            if word == "stop" and hub.current_task().attempt == 1:
                await anyio.sleep_forever()
            if word == "fail":
                raise ValueError("as it was told")
            yield ModelAResponse(reply=word)


class PlainWords(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
        for word in request.messages.split():
            yield ModelAResponse(reply=word)


class Caller(hub.Model[ModelARequest, ModelAResponse]):
    """Calls `Echo`."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        reply = await hub.current_task().call(Echo, request)
        return ModelAResponse(reply=f"called: {reply.reply}")


class Retried(hub.Model[ModelARequest, ModelAResponse]):
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(ConnectionError,), limit=3, first=3600.0, cap=7200.0)

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if hub.current_task().attempt < 3:
            raise ConnectionError("not yet")
        return ModelAResponse(reply=f"attempt {hub.current_task().attempt}")


class BrokenApart(hub.Model[ModelARequest, ModelAResponse]):
    run_in_process = True

    @override
    def setup(self) -> None:
        raise FileNotFoundError("no weights")

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class Broken(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def setup(self) -> None:
        raise FileNotFoundError("no weights")

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)
