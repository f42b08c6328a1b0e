"""Models that tests of the client call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from anyio import Event, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Echo(hub.Model[ModelARequest, ModelAResponse]):
    """Answers with the request, after some seconds if that is a number, or fails with it if it begins with `!`."""

    concurrency: ClassVar[int] = 32
    shares_loop: ClassVar[bool] = True
    runs: ClassVar[int] = 0

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        type(self).runs += 1
        text = request.messages
        if text.startswith("!"):
            raise ValueError(text[1:])
        if text.replace(".", "").isdigit():
            hub.current_task().report(0.5, "half")
            await sleep(float(text))
        return ModelAResponse(reply=text)


class Endless(hub.Model[ModelARequest, ModelAResponse]):
    """Never answers. `runs` and `left` count its runs and those that were cancelled."""

    concurrency: ClassVar[int] = 8
    shares_loop: ClassVar[bool] = True
    max_timeout: ClassVar[float | None] = 600
    runs: ClassVar[int] = 0
    left: ClassVar[int] = 0

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        type(self).runs += 1
        try:
            await sleep_forever()
        finally:
            type(self).left += 1
        raise AssertionError


class Count(hub.Model[ModelARequest, ModelAResponse]):
    """Yields the numbers up to the request; `<n> retry` makes its first attempt fail after two, `<n> fail` each one."""

    concurrency: ClassVar[int] = 8
    shares_loop: ClassVar[bool] = True
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(OSError,), limit=2, first=0.1)
    left: ClassVar[Event | None] = None

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        count, _, how = request.messages.partition(" ")
        attempt = hub.current_task().attempt
        try:
            for number in range(1, int(count) + 1):
                if number == 3 and how == "retry" and attempt == 1:
                    await sleep(0.3)
                    raise OSError("first attempt")
                if number == 3 and how == "fail":
                    raise ValueError("three")
                yield ModelAResponse(reply=f"{attempt}-{number}")
                await checkpoint()
        finally:
            if (left := type(self).left) is not None:
                left.set()
