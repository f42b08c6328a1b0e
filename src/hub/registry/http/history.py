"""What became of instances."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from hub.ports.directory import HISTORY_LENGTH, HistoryEvent
from hub.registry.client.schemas import EventLogBody
from hub.registry.http.documented import OUT_OF_REACH, reply
from hub.registry.tasks.directory_sync import directory_timeout

ReadHistory: TypeAlias = Callable[[int], Awaitable[Sequence[HistoryEvent]]]
"""Reads that many of the last events, newest first."""


@get(
    "/v1/history",
    summary="Show what became of instances",
    responses={200: reply(EventLogBody, "Events, newest first."), 503: OUT_OF_REACH},
    tags=["instances"],
)
async def show_history(
    history: NamedDependency[ReadHistory],
    model: Annotated[str | None, QueryParameter(description="Only instances of this model.")] = None,
    limit: Annotated[int, QueryParameter(description="Events at most.", ge=1, le=HISTORY_LENGTH)] = 100,
) -> EventLogBody:
    """Who became live, deaf or suspect, who logged in and who was removed, when and why.

    The last 1,000 events are kept, for all registries that share a directory. 503 while that is out of reach.
    """
    with directory_timeout():
        events = await history(limit if model is None else HISTORY_LENGTH)
    return EventLogBody(events=tuple(event for event in events if model in (None, event.model))[:limit])
