"""A model that processes batches in a process of its own, with requests like `<method> <argument>`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Together(hub.Model[ModelARequest, ModelAResponse]):
    """Calls a method for each request in turn, `wait_for` last; the reply begins with the id of the process and the size of the batch."""

    name = "Echo"
    run_in_process = True
    kill_grace: ClassVar[float] = 30.0  # nothing here is killed because the machine is busy
    max_batch_size = 4
    max_batch_wait: ClassVar[float] = 60.0
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(ConnectionError,), first=0.01, cap=0.01)

    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        places = range(len(requests))
        results: dict[int, Any] = {}
        for place in sorted(places, key=lambda place: requests[place].messages.startswith("wait_for")):
            word, _, argument = requests[place].messages.partition(" ")
            result = getattr(self, word)(argument, hub.current_tasks()[place])
            if isinstance(result, str):
                result = ModelAResponse(reply=f"{os.getpid()} {len(requests)} {result}")
            results[place] = result
        return [results[place] for place in places]

    def echo(self, text: str, _: hub.CurrentTask) -> Any:
        return text

    def about(self, _: str, task: hub.CurrentTask) -> Any:
        task.report(0.25, f"progress of {task.id}")
        return f"{task.id} {task.attempt} {task.model} {task.instance}"

    def fail(self, text: str, _: hub.CurrentTask) -> Any:
        return LookupError(text)

    def fail_all(self, text: str, _: hub.CurrentTask) -> Any:
        raise LookupError(text)

    def fail_once(self, text: str, task: hub.CurrentTask) -> Any:
        return ConnectionResetError(text) if task.attempt == 1 else text

    def wrong(self, _: str, __: hub.CurrentTask) -> Any:
        return ModelARequest()

    def leave_once(self, _: str, task: hub.CurrentTask) -> Any:
        """Ends the process, in the first attempt."""
        if task.attempt == 1:
            os._exit(3)
        return "survived"

    def leave(self, _: str, __: hub.CurrentTask) -> Any:
        os._exit(3)

    def wait_for(self, path: str, task: hub.CurrentTask) -> Any:
        """Returns when the file exists."""
        task.report(message="begun")
        while not Path(path).exists():
            time.sleep(0.005)
        return "waited"

    def spin(self, path: str, task: hub.CurrentTask) -> Any:
        try:
            task.report(message="begun")
            time.sleep(3_600)
        finally:
            Path(path).write_text(f"cancelled: {[each.cancelled for each in hub.current_tasks()]}")
        return ""


class Unready(Together):
    """Does not wait for others."""

    name = "Echo"
    max_batch_wait = 0.05


class TooFew(Together):
    name = "Echo"

    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        return super().process_batch(requests)[1:]
