"""Lists of recent tasks: the parameters of a request, and the body of the reply."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from urllib.parse import urlencode

from msgspec import UNSET, Struct, UnsetType

from hub.errors import InvalidName
from hub.gateway.errors import BadParameter
from hub.gateway.schemas import FailureBody, ProgressBody, moment
from hub.http.middleware.root_path import rooted
from hub.ports.result_store import LISTED_STATES, RecentTasks
from hub.task import Failure, TaskRecord
from hub.types import ModelName, TaskState, model_name

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

MAX_MESSAGE: Final = 300
"""Characters of the message of a failure in a list; the task itself has all of it."""

_CURSOR: Final = re.compile(r"\d{10}\.\d{6}_[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A page of recent tasks; `model` is `None` for all of them, `before` empty for the newest."""

    states: tuple[TaskState, ...]
    model: ModelName | None
    before: str
    limit: int

    @classmethod
    def from_parameters(cls, parameters: Iterable[tuple[str, str]]) -> Self:
        """Parses the parameters of a request.

        Args:
            parameters: `state` (any number of times, or with commas), `model`, `before`, `limit`. Others are ignored.

        Raises:
            BadParameter: One of them is malformed or out of range; the message says what would be right.
        """
        given: dict[str, list[str]] = {}
        for name, value in parameters:
            given.setdefault(name, []).append(value)
        named = [name for value in given.get("state", ()) for name in value.split(",") if name]
        return cls(
            states=_states(named) or LISTED_STATES,
            model=_model(_last(given, "model")),
            before=_cursor(_last(given, "before")),
            limit=_limit(_last(given, "limit")),
        )

    def url(self, before: str) -> str:
        """The URL of the page that follows `before`."""
        states = () if self.states == LISTED_STATES else tuple(("state", state.value) for state in self.states)
        model = () if self.model is None else (("model", self.model),)
        return rooted("/v1/tasks?") + urlencode((*states, *model, ("limit", self.limit), ("before", before)))


class TaskSummaryBody(Struct, frozen=True, kw_only=True):
    """A task in a list; `url` is that of the whole task. See `hub.gateway.schemas.TaskBody`.

    Attributes:
        failure: Why it ended without a response: its message is cut at `MAX_MESSAGE` characters, and has no traceback.
    """

    id: str
    model: str
    state: TaskState
    attempt: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    deadline: datetime | UnsetType = UNSET
    instance: str | UnsetType = UNSET
    retries: int = 0
    progress: ProgressBody | UnsetType = UNSET
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    failure: FailureBody | UnsetType = UNSET
    url: str

    @classmethod
    def of(cls, record: TaskRecord) -> TaskSummaryBody:
        outcome = record.outcome
        failure = None if outcome is None else outcome.failure
        return cls(
            id=record.id,
            model=record.model,
            state=record.state,
            attempt=record.attempt,
            instance=UNSET if record.instance is None else record.instance,
            created_at=moment(record.created_at),
            updated_at=moment(record.updated_at),
            expires_at=moment(record.expires_at),
            deadline=_moment(record.deadline),
            retries=record.retries,
            progress=UNSET if record.progress is None else ProgressBody.of(record.progress),
            started_at=_moment(record.started_at),
            finished_at=UNSET if outcome is None else moment(outcome.finished_at),
            failure=UNSET if failure is None else _short(failure),
            url=rooted(f"/v1/tasks/{record.id}"),
        )


class TaskListBody(Struct, frozen=True, kw_only=True):
    """A page of recent tasks, newest first; `next` is the URL of the next page, left out on the last."""

    tasks: tuple[TaskSummaryBody, ...]
    next: str | UnsetType = UNSET

    @classmethod
    def of(cls, query: TaskQuery, found: RecentTasks) -> TaskListBody:
        return cls(
            tasks=tuple(map(TaskSummaryBody.of, found.records)), next=query.url(found.cursor) if found.cursor else UNSET
        )


def _last(given: dict[str, list[str]], name: str) -> str:
    return given.get(name, [""])[-1]


def _states(named: Collection[str]) -> tuple[TaskState, ...]:
    known = {state.value: state for state in LISTED_STATES}
    for name in named:
        if name not in known:
            raise BadParameter(
                f"there is no list of tasks in state {name!r}; ask for one or more of {', '.join(known)}"
            )
    return tuple(state for state in LISTED_STATES if state in named)


def _model(text: str) -> ModelName | None:
    try:
        return model_name(text) if text else None
    except InvalidName as error:
        raise BadParameter(f"model: {error}") from None


def _cursor(text: str) -> str:
    if text and _CURSOR.fullmatch(text) is None:
        raise BadParameter(f"before={text[:100]!r} is no cursor; use the URL in `next` of the previous page unchanged")
    return text


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if text and not 1 <= limit <= MAX_LIMIT:
        raise BadParameter(f"limit={text[:100]!r}; it must be a number from 1 to {MAX_LIMIT}")
    return limit or DEFAULT_LIMIT


def _short(failure: Failure) -> FailureBody:
    text = failure.message
    message = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} ..."
    return FailureBody(code=failure.code, type=failure.type, message=message)


def _moment(seconds: float | None) -> datetime | UnsetType:
    return UNSET if seconds is None else moment(seconds)
