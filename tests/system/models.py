"""Models of the processes under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from anyio import CancelScope, Path, sleep, sleep_forever
from typing_extensions import override

import hub
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Echo(hub.Model[ModelARequest, ModelAResponse]):
    """Waits for the seconds in the request (`0.5 text`), then returns its text."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        seconds, _, text = request.messages.partition(" ")
        await sleep(float(seconds))
        return ModelAResponse(reply=text)


class Impostor(hub.Model[DigitsRequest, DigitsResponse]):
    """Another contract under the name of Echo."""

    name: ClassVar[str] = "Echo"

    @override
    async def process_request(self, request: DigitsRequest) -> DigitsResponse:
        return DigitsResponse()


class Steps(hub.Model[ModelARequest, ModelAResponse]):
    """Streams as many chunks as the request says, each with the number of the attempt and its own."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        attempt = hub.current_task().attempt
        for number in range(int(request.messages)):
            yield ModelAResponse(reply=f"{attempt} {number}")
            await sleep(0.002)


class Writer(hub.Model[ModelARequest, ModelAResponse]):
    """Writes a line into the file that the request names (`<path> stay`), and with `stay` does not end by itself."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        path, _, mode = request.messages.partition(" ")
        await _append(path, "began")
        try:
            if mode:
                await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await _append(path, "left")
        return ModelAResponse(reply=hub.current_task().id)


class Caller(hub.Model[ModelARequest, ModelAResponse]):
    """Calls Writer with its own request. In its first attempt it does not end by itself."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        response = await hub.current_task().call(Writer, request)
        if hub.current_task().attempt == 1:
            await sleep_forever()
        return response


class Middle(Caller):
    """Between Top and Writer."""


class Top(hub.Model[ModelARequest, ModelAResponse]):
    """Calls Middle, which calls Writer."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return await hub.current_task().call(Middle, request)


async def _append(path: str, line: str) -> None:
    async with await Path(path).open("a") as file:
        await file.write(f"{line}\n")
