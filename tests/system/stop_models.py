"""Models that do not return when their process is stopped."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import ClassVar

import anyio
import anyio.to_thread
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

LONG = 600.0
"""Seconds: longer than any test."""


def say(text: str) -> None:
    """Logs a line for which the test waits."""
    import structlog

    structlog.get_logger("tests").info(text)


class SlowRun(hub.Model[ModelARequest, ModelAResponse]):
    """Blocks its thread, which cannot be interrupted; `process` leaves a child, `thread` a thread."""

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        if request.messages == "process":
            context = multiprocessing.get_context("fork")
            context.Process(target=time.sleep, args=(LONG,)).start()
            say("the model runs")
            return ModelAResponse(reply="left a child behind")
        if request.messages == "thread":
            threading.Thread(target=time.sleep, args=(LONG,), name="of the model's own", daemon=False).start()
            say("the model runs")
            return ModelAResponse(reply="left a thread behind")
        say("the model runs")
        time.sleep(LONG)
        return ModelAResponse()

    @override
    def teardown(self) -> None:
        say("torn down")


class SlowSetup(SlowRun):
    @override
    def setup(self) -> None:
        say("the model runs")
        time.sleep(LONG)


class SlowAwaited(hub.Model[ModelARequest, ModelAResponse]):
    """Waits for a thread, and can be cancelled."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        say("the model runs")
        await anyio.to_thread.run_sync(time.sleep, LONG, abandon_on_cancel=True)
        return ModelAResponse()


class Clinging(hub.Model[ModelARequest, ModelAResponse]):
    """Swallows its cancellation, as a bug in a library may."""

    concurrency: ClassVar[int] = 2

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        say("the model runs")
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
        return ModelAResponse()
