"""The model of the chaos run. It does what the request says and writes each run into the journal."""

from __future__ import annotations

import os
from typing import ClassVar, Final

from anyio import sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from tests.chaos.journal import Journal

POISON_EXIT_CODE: Final = 86
"""Exit code of a process that a poison task has ended."""


class Trouble(Exception):
    """Raised by tasks of the kind `raise`."""


class Chaos(hub.Model[ModelARequest, ModelAResponse]):
    """Takes `<kind> <milliseconds> <text>`; answers `<text>` after that time, unless the kind is `raise` or `poison`."""

    concurrency: ClassVar[int] = 8

    @override
    def setup(self) -> None:
        self._journal = Journal()

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        kind, milliseconds, text = request.messages.split(" ", 2)
        task = hub.current_task()
        with self._journal.run(task.id, task.attempt):
            await sleep(float(milliseconds) / 1000)
            if kind == "raise":
                raise Trouble(text)
            if kind == "poison":
                os._exit(POISON_EXIT_CODE)
        return ModelAResponse(reply=text)
