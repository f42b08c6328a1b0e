"""The streaming model of the chaos run. The journal has each of its generators, from its first step until it has been left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, Final

from anyio import sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from tests.chaos.journal import Journal
from tests.chaos.plan import STREAM

CHUNKS: Final = 50
"""Chunks of each task."""


def chunk(attempt: int, number: int) -> str:
    """What one chunk says."""
    return f"{attempt} {number}"


class Stream(hub.Model[ModelARequest, ModelAResponse]):
    """Takes `<kind> <milliseconds> <text>`, and yields `CHUNKS` chunks within that time."""

    name: ClassVar[str] = STREAM
    concurrency: ClassVar[int] = 16

    @override
    def setup(self) -> None:
        self._journal = Journal()

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        _, milliseconds, _ = request.messages.split(" ", 2)
        task = hub.current_task()
        with self._journal.run(task.id, task.attempt):
            for number in range(CHUNKS):
                yield ModelAResponse(reply=chunk(task.attempt, number))  # noqa: ASYNC119 - hub closes the generator in the same task
                await sleep(float(milliseconds) / 1000 / CHUNKS)
