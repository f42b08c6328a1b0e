"""Models of the chaos run that call each other: TreeA -> (TreeB, TreeC) -> TreeD. Each run is written into the journal."""

from __future__ import annotations

from typing import ClassVar, Final

from anyio import create_task_group, sleep
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from tests.chaos.journal import Journal, child_entry

RETRY: Final = hub.Retry(on=(hub.CallFailed, hub.ModelUnavailable, hub.UnknownModel), limit=50, first=0.2, cap=2.0)
"""Instances are killed all the time, so a model may have no live one for a moment."""


class TreeModel(hub.Model[ModelARequest, ModelAResponse]):
    """Has a journal."""

    concurrency: ClassVar[int] = 16
    retry: ClassVar[hub.Retry | None] = RETRY

    @override
    def setup(self) -> None:
        self._journal = Journal()


class TreeA(TreeModel):
    """Takes `<kind> <milliseconds> <text>`, calls TreeB and TreeC with its id and the milliseconds, and answers `<text>`."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        _, milliseconds, text = request.messages.split(" ", 2)
        task = hub.current_task()
        below = ModelARequest(messages=f"{task.id} {milliseconds}")
        with self._journal.run(task.id, task.attempt):
            async with create_task_group() as tg:
                tg.start_soon(task.call, TreeB, below)
                tg.start_soon(task.call, TreeC, below)
        return ModelAResponse(reply=text)


class TreeB(TreeModel):
    """Takes `<root> <milliseconds>`, and calls TreeD with the same."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        root, _ = request.messages.split(" ")
        task = hub.current_task()
        with self._journal.run(child_entry(root, task.id), task.attempt):
            return await task.call(TreeD, request)


class TreeC(TreeB):
    """The other branch."""


class TreeD(TreeModel):
    """Takes `<root> <milliseconds>`, and waits for so long."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        root, milliseconds = request.messages.split(" ")
        task = hub.current_task()
        with self._journal.run(child_entry(root, task.id), task.attempt):
            await sleep(float(milliseconds) / 1000)
        return ModelAResponse()


TREE: Final[tuple[type[TreeModel], ...]] = (TreeA, TreeB, TreeC, TreeD)
