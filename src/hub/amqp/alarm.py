"""Why a broker takes no messages at present. See https://www.rabbitmq.com/docs/connection-blocked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Never, final

import structlog
from anyio import sleep

ALARM_PERIOD: Final = 5.0
"""Seconds between two probes: an alarm is known that long after it began, also where nothing is published."""

PROBE_KEY: Final = "hub.probe"
"""The routing key of probes. There is no queue of that name, so the default exchange drops them."""

_log = structlog.get_logger("hub.amqp")


@final
class Alarm:
    """The memory or disk alarm of a broker, as reported to the connection that publishes.

    RabbitMQ sends `connection.blocked` when a connection publishes during an alarm, not before (3.10.8: `rabbit_reader`
    is `blocking` until the next publish). So `watch` publishes. An alarm is logged once when it begins and once when it ends.

    Attributes:
        reason: The text of the broker, such as `low on memory`; `None` while there is none, or it is not known.
    """

    def __init__(self, server: str) -> None:
        self.reason: str | None = None
        self._server = server

    def changed(self, reason: str | None) -> None:
        """Handles `connection.blocked` (its reason) or `connection.unblocked` (`None`)."""
        before, self.reason = self.reason, reason
        if before is None and reason is not None:
            _log.warning("the broker takes no messages until its alarm ends", server=self._server, reason=reason)
        elif before is not None and reason is None:
            _log.info("the broker takes messages again", server=self._server, reason=before)

    def forget(self) -> None:
        """Forgets the alarm when the connection ends: the broker reports it to the next one, if it lasts."""
        self.reason = None


async def watch(probe: Callable[[], Awaitable[object]]) -> Never:
    """Publishes a message that no queue gets, once every `ALARM_PERIOD` seconds, so that an alarm is noticed.

    Args:
        probe: Publishes one with `PROBE_KEY`, not mandatory, on a channel of its own, and raises when that is closed.
            During an alarm it waits.
    """
    while True:
        await probe()
        await sleep(ALARM_PERIOD)
