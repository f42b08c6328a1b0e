"""Models of the processes under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from anyio import sleep
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
