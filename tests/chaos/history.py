"""What was observed in a run: each task as the client saw it, and what the system still holds in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, final

from tests.chaos.plan import Job

UNFINISHED: Final = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task in one answer of the gateway. Unix seconds.

    Attributes:
        content: Its result or its failure, as JSON.
    """

    state: str
    attempt: int
    created_at: float
    finished_at: float | None
    content: str

    @property
    def terminal(self) -> bool:
        return self.state not in UNFINISHED

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> TaskView:
        finished = body.get("finished_at")
        return cls(
            state=body["state"],
            attempt=body["attempt"],
            created_at=_seconds(body["created_at"]),
            finished_at=_seconds(finished) if finished else None,
            content=json.dumps(body.get("result", body.get("failure")), sort_keys=True),
        )


@final
@dataclass(slots=True, kw_only=True)
class TaskHistory:
    """One task of the client. Unix seconds.

    Attributes:
        ids: Every id under which it was accepted, in that order; there must be one.
        accepted_at: When the client received the first id.
        cancelled_at: When the client received the answer that it is cancelled.
        first: The first terminal view that the client received.
        last: The terminal view at the end of the run.
        missing: Number of answers that the id is unknown.
        chunks: What a stream that has succeeded says at the end of the run; `None` if it was not read.
    """

    job: Job
    ids: list[str] = field(default_factory=list[str])
    accepted_at: float | None = None
    cancelled_at: float | None = None
    first: TaskView | None = None
    last: TaskView | None = None
    missing: int = 0
    chunks: list[str] | None = None

    def accepted(self, task_id: str, now: float) -> None:
        if task_id not in self.ids:
            self.ids.append(task_id)
        if self.accepted_at is None:
            self.accepted_at = now


@final
@dataclass(slots=True)
class History:
    """All tasks of the client, and its counters.

    Attributes:
        accepted: Tasks that have an id.
        ended: Tasks of which the client has received a terminal view.
        refused: Requests answered with 429 or 503, by status and code.
        broken: Requests without an answer, by the error.
        unexpected_answers: Answers that no request may get.
    """

    entries: list[TaskHistory] = field(default_factory=list[TaskHistory])
    accepted: int = 0
    ended: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    broken: dict[str, int] = field(default_factory=dict[str, int])
    unexpected_answers: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalState:
    """What a system at rest still holds.

    Attributes:
        ready: Messages on the queue of the model.
        unacked: Messages that were delivered and not settled.
        dead_letters: Messages in its dead-letter queue.
        running: Processes of instances.
        live: Instances that the registry lists as live.
    """

    ready: int
    unacked: int
    dead_letters: int
    running: int
    live: int


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
