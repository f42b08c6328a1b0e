"""Why a task was not accepted, whichever component submits it."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from hub.errors import HubError


@final
class BrokerBlocked(HubError):
    """The broker accepts no messages because of a memory or disk alarm. The task is withdrawn: it does not run."""

    code = "broker_blocked"
    status = 503
    title = "The broker accepts no messages"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @override
    def __str__(self) -> str:
        return (
            f"the broker accepts no messages because of an alarm: {self.reason}; the task has been withdrawn, send it "
            "again when the alarm is over"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"reason": self.reason}

    @property
    @override
    def retry_after(self) -> float | None:
        return 5.0


@final
class AcceptTimeout(HubError):
    """The store and the broker have not confirmed in time. The task is withdrawn: it does not run."""

    code = "accept_timeout"
    status = 503
    title = "The task was not accepted in time"

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    @override
    def __str__(self) -> str:
        return f"the broker did not confirm the task within {self.seconds:g} s; it has been withdrawn, send it again"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0
