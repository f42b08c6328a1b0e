"""What the client knows: every task that it has submitted, and everything that it was told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, final

from tests.chaos.plan import Job

UNFINISHED: Final = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A task as the gateway showed it once. Unix seconds.

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
    def of(cls, body: Mapping[str, Any]) -> View:
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
class Entry:
    """One task of the client. Unix seconds.

    Attributes:
        ids: Every id under which it was ever accepted, in that order; there must be one.
        accepted_at: When the client first heard of it.
        cancelled_at: When the client heard that it is cancelled.
        first: How it had ended when that was first seen.
        last: How it had ended at the very end.
        missing: How often the gateway did not know the id.
    """

    job: Job
    ids: list[str] = field(default_factory=list[str])
    accepted_at: float | None = None
    cancelled_at: float | None = None
    first: View | None = None
    last: View | None = None
    missing: int = 0

    def accepted(self, task_id: str, now: float) -> None:
        if task_id not in self.ids:
            self.ids.append(task_id)
        if self.accepted_at is None:
            self.accepted_at = now


@final
@dataclass(slots=True)
class Ledger:
    """All entries, and what was seen beside them.

    Attributes:
        accepted: Tasks that have an id.
        ended: Tasks that were seen to have ended.
        refused: Requests that were answered with 429 or 503, by status and code.
        broken: Requests without an answer, by what happened instead.
        surprises: Answers that no client should ever get.
    """

    entries: list[Entry] = field(default_factory=list[Entry])
    accepted: int = 0
    ended: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    broken: dict[str, int] = field(default_factory=dict[str, int])
    surprises: list[str] = field(default_factory=list[str])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
