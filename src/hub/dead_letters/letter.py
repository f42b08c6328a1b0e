"""One dead letter as a value: what died, when, and why, whether an instance or the broker dead-lettered it.

An instance says so in `hub-*` headers (see `hub.model`), RabbitMQ in `x-death` and `x-last-death-reason`
(https://www.rabbitmq.com/docs/dlx#effects).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, cast, final

from hub.errors import Undecodable
from hub.ports.broker import Delivery
from hub.safe_text import TEXT_LIMIT, storable
from hub.task import MAX_TIME, Failure, Task
from hub.types import InstanceId, ModelName

UNKNOWN: Final = "unknown"
"""The code of a letter without a reason: it was put into the queue by another program."""

_BROKER_REASONS: Final[Mapping[str, str]] = {
    "delivery_limit": "the broker gave it up: it came back more often than the delivery limit of its queue allows, so "
    "it probably ends every instance that takes it",
    "maxlen": "the broker gave it up: its queue was at its maximum length",
    "expired": "the broker gave it up: it waited longer than a message TTL allows",
    "rejected": "an instance rejected it without saying why",
}
_MAX_ATTEMPT: Final = 2**32 - 1
_NO_REASON: Final = "nothing says why it died; it was put there by something else than hub"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter and what its headers tell.

    Attributes:
        model: Whose dead letter it is; the task may name another model if it was on the wrong queue.
        task: `None` if the body is no task.
        code: Why it died, such as `wrong_contract`, or the broker's own reason, such as `delivery_limit`.
        reason: The same for people.
        attempt: The run after which it died; 0 if it never ran, `None` if it is not known.
        died_at: In Unix seconds, to the second; `None` if it is not known.
        broker_killed: The broker dead-lettered it by itself, so no instance stored an outcome.
    """

    delivery: Delivery
    model: ModelName
    task: Task | None
    code: str
    reason: str
    attempt: int | None
    instance: InstanceId | None
    died_at: float | None
    broker_killed: bool

    @classmethod
    def read(cls, delivery: Delivery, model: ModelName) -> Self:
        """Never fails: headers that are missing, or are not what they should be, are taken as not said."""
        headers = delivery.headers
        code = _text(headers.get("hub-code"))
        death = _last_death(headers, model)
        broker_code = "" if code else _broker_code(headers, death)
        told = _text(headers.get("hub-reason")) if code else _BROKER_REASONS.get(broker_code, "")
        attempt = _whole(headers.get("hub-attempt"), _MAX_ATTEMPT)
        return cls(
            delivery=delivery,
            model=model,
            task=_task(delivery.body),
            code=code or broker_code or UNKNOWN,
            reason=told or (f"the broker gave it up: {broker_code}" if broker_code else _NO_REASON),
            attempt=attempt,
            instance=InstanceId(_text(headers.get("hub-instance"))) or None,
            died_at=_seconds(headers.get("hub-died-at") if code else death.get("time")),
            broker_killed=bool(broker_code),
        )

    @property
    def id(self) -> str:
        """What it is called by: the id of its task, else that of its message, which may be empty."""
        return self.delivery.message_id if self.task is None else self.task.id

    @property
    def failure(self) -> Failure:
        """Its end as an outcome has it."""
        return Failure(code=self.code, message=self.reason)


def read_letters(deliveries: Iterable[Delivery], model: ModelName) -> list[DeadLetter]:
    return [DeadLetter.read(delivery, model) for delivery in deliveries]


def _task(body: bytes) -> Task | None:
    try:
        return Task.decode(body)
    except Undecodable:
        return None


def _broker_code(headers: Mapping[str, object], death: Mapping[str, object]) -> str:
    """The newest reason that is told; the first one alone would be that of an earlier stay in a delay queue."""
    reasons = (death.get("reason"), headers.get("x-last-death-reason"), headers.get("x-first-death-reason"))
    return next((text for text in (_text(reason) for reason in reasons) if text), "")


def _last_death(headers: Mapping[str, object], model: ModelName) -> Mapping[str, object]:
    """The newest entry of `x-death` for the queue of the model itself."""
    entries = headers.get("x-death")
    if isinstance(entries, list):
        for entry in cast("list[object]", entries):  # a list of anything
            if isinstance(entry, dict) and _text(cast("dict[object, object]", entry).get("queue")) == model:
                return cast("Mapping[str, object]", entry)  # keys of an AMQP table are strings
    return {}


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return storable(value, TEXT_LIMIT) if isinstance(value, str) else ""


def _whole(value: object, most: float) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _seconds(value: object) -> float | None:
    if isinstance(value, datetime):
        try:
            value = int(value.timestamp())
        except (OverflowError, ValueError):  # the first and the last day have no time in every zone
            return None
    seconds = _whole(value, MAX_TIME)
    return None if seconds is None else float(seconds)
