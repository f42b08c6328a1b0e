"""Why a broker takes no messages at present. See https://www.rabbitmq.com/docs/connection-blocked."""

from __future__ import annotations

from typing import final

import structlog

_log = structlog.get_logger("hub.amqp")


@final
class Alarm:
    """The memory or disk alarm of a broker, as reported to the connection that publishes.

    RabbitMQ sends `connection.blocked` when a connection publishes during an alarm, not before. It is logged once when
    it begins and once when it ends.

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
