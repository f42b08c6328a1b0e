"""The figures of all models."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from hub.registry.client.schemas import StatsBody
from hub.registry.http.documented import reply
from hub.registry.stats import StatsService


@get(
    "/v1/stats",
    summary="What the models do and have done",
    responses={200: reply(StatsBody, "Every known model, by name.")},
    tags=["models"],
)
async def show_figures(figures: NamedDependency[StatsService]) -> StatsBody:
    """From memory, as fresh as the last ping of each instance (`ping_period`) and the last look at the queues.

    Outcomes and times are counted since the instances started, those that are gone included. They only rise, until this
    registry starts again.
    """
    return figures.now()
