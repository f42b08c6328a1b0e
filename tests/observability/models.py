"""Models whose moods a test sets by files in a folder that `MOODS` names."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from anyio import sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

MOODS: Final = "OBSERVABILITY_MOODS"
"""The environment variable with the folder."""

POLL_INTERVAL: Final = 0.05
"""Seconds between two polls."""


class Watched(hub.Model[ModelARequest, ModelAResponse]):
    """Answers at once; raises for `fail`. While `<name>.held` exists it does not answer; `<name>.unwell` makes it say so."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        while self._in_the_mood("held"):
            await sleep(POLL_INTERVAL)
        if self._in_the_mood("holding"):
            time.sleep(1.2)  # noqa: ASYNC251 - the point
        if request.messages == "fail":
            raise ValueError("told to fail")
        return ModelAResponse(reply=request.messages)

    @override
    async def health(self) -> None:
        if self._in_the_mood("unwell"):
            raise RuntimeError("told to be unwell")

    def _in_the_mood(self, mood: str) -> bool:
        return (Path(os.environ[MOODS]) / f"{type(self).__name__}.{mood}").exists()


class WatchedTwice(hub.Model[ModelARequest, ModelAResponse]):
    """A second model, which processes batches."""

    concurrency: ClassVar[int] = 4

    @override
    async def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        return [
            ValueError("told to fail") if request.messages == "fail" else ModelAResponse(reply=request.messages)
            for request in requests
        ]


class Vanishing(Watched):
    """One whose instances are killed."""


class Crowded(Watched):
    """One that gets more than it can do."""


class Unwell(Watched):
    """One that is deaf at times."""


class Faulty(Watched):
    """One that fails."""


class Holding(Watched):
    """One that holds its event loop at times."""


class Stuck(Watched):
    """One whose setup does not return while it is in the mood."""

    @override
    async def setup(self) -> None:
        while self._in_the_mood("stuck"):
            await sleep(POLL_INTERVAL)
