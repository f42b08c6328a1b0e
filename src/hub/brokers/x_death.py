"""The headers of a message that the broker has moved to another queue by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from hub.ports.broker import Delivery

LAST_QUEUE: Final = "x-last-death-queue"
LAST_REASON: Final = "x-last-death-reason"
FIRST_QUEUE: Final = "x-first-death-queue"
FIRST_REASON: Final = "x-first-death-reason"


def with_last_death_headers(deliveries: Iterable[Delivery]) -> Sequence[Delivery]:
    """Adds the headers of the last death, which RabbitMQ 3.13 and later set, to messages of earlier versions.

    `x-first-death-reason` is not enough: what a delay queue has let go has "expired" once before it dies in earnest.
    """
    return [replace(delivery, headers=_with_last_death(delivery.headers)) for delivery in deliveries]


def death_headers(headers: Mapping[str, str | int], queue: str, reason: str) -> dict[str, str | int]:
    """The headers of a message that dies now, for a broker of our own."""
    return {FIRST_QUEUE: queue, FIRST_REASON: reason, **headers, LAST_QUEUE: queue, LAST_REASON: reason}


def _with_last_death(headers: Mapping[str, object]) -> Mapping[str, object]:
    deaths = headers.get("x-death")
    if LAST_REASON in headers or not isinstance(deaths, list) or not deaths:
        return headers
    last = cast("list[object]", deaths)[0]  # the newest
    if not isinstance(last, dict):
        return headers
    death = cast("dict[str, object]", last)
    return {**headers, LAST_QUEUE: death.get("queue", ""), LAST_REASON: death.get("reason", "")}
