"""A model that streams, and writes down when its generators begin and end."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from anyio import sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Numbers(hub.Model[ModelARequest, ModelAResponse]):
    """Yields so many numbers with so many seconds between two groups of ten, as the request (`1000 0.01 /journal`) says.

    It adds a line to the journal at the begin and at the end of each generator: the word, its process and the time.
    """

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        count, pause, journal = request.messages.split()
        note(journal, "began")
        try:
            for number in range(1, int(count) + 1):
                yield ModelAResponse(reply=f"{number}")
                if number % 10 == 0:
                    await sleep(float(pause))
        finally:
            note(journal, "left")


def note(journal: str, what: str) -> None:
    with Path(journal).open("a") as file:
        file.write(f"{what} {os.getpid()} {time.time()}\n")
