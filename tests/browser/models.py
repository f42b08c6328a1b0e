"""Models whose tasks end in every way that the pages of tasks show."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from typing import ClassVar

from anyio import sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Reports(hub.Model[ModelARequest, ModelAResponse]):
    """Fails with what it is told, or without a word reports for ever."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if request.messages:
            raise ValueError(request.messages)
        step = 0
        while True:
            step += 1
            hub.current_task().report(None, f"step {step}")
            await sleep(0.05)


class Dies(hub.Model[ModelARequest, ModelAResponse]):
    """Kills its process."""

    run_in_process: ClassVar[bool] = True

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        os.kill(os.getpid(), signal.SIGKILL)
        return ModelAResponse()


class Streams(hub.Model[ModelARequest, ModelAResponse]):
    """Yields the words of its request, ten times a second; without a word, numbers for ever."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        for word in request.messages.split():
            yield ModelAResponse(reply=word)
            await sleep(0.1)
        number = 0
        while not request.messages:
            number += 1
            yield ModelAResponse(reply=f"number {number}")
            await sleep(0.05)
