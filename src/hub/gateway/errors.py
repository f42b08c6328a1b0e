"""Errors of requests that make tasks, and of parameters."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from hub.errors import HubError


@final
class BadParameter(HubError):
    """A query parameter or header is malformed."""

    code = "bad_parameter"
    status = 400
    title = "Bad request"


@final
class TimeoutTooLong(HubError):
    """`Hub-Timeout` is longer than the limit of the model."""

    code = "timeout_too_long"
    status = 400
    title = "The timeout is too long"

    def __init__(self, seconds: float, longest: float) -> None:
        super().__init__(seconds, longest)
        self.seconds = seconds
        self.longest = longest

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"max_timeout": self.longest}

    @override
    def __str__(self) -> str:
        return f"Hub-Timeout is {self.seconds:.12g} s; tasks of this model may take {self.longest:.12g} s at most"


@final
class QueueLimitExceeded(HubError):
    """The queue of the model has reached the limit of the gateway, or of the broker."""

    code = "queue_full"
    status = 429
    title = "The queue of the model is full"

    def __init__(self, model: str, waiting: int, seconds: float) -> None:
        super().__init__(model, waiting, seconds)
        self.model = model
        self.waiting = waiting
        self.seconds = seconds

    @override
    def __str__(self) -> str:
        if self.waiting == 0:
            return (
                f"the broker rejected the task for {self.model!r} (basic.nack), though its queue seems empty: the "
                "queue's leader may be changing to another node; send the task again later"
            )
        return (
            f"{self.waiting} tasks wait for {self.model!r}, and no more are accepted for now; send the task again later"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"waiting": self.waiting}

    @property
    @override
    def retry_after(self) -> float | None:
        return self.seconds


@final
class GatewayBusy(HubError):
    """More requests arrive than this gateway, its broker and its store can handle. This one has had no effect."""

    code = "gateway_busy"
    status = 503
    title = "The gateway does not keep up"

    def __init__(self, busy_after: float) -> None:
        super().__init__(busy_after)
        self.busy_after = busy_after

    @override
    def __str__(self) -> str:
        return (
            f"accepting or reading a task takes longer than {self.busy_after:g} s here, so no more are accepted for now; send it "
            "again later, or to another gateway (the limit is the gateway's setting busy_after)"
        )

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class IdempotencyConflict(HubError):
    """An `Idempotency-Key` was used again with another request."""

    code = "idempotency_conflict"
    status = 409
    title = "The key was used for another request"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"task": self.task}

    @override
    def __str__(self) -> str:
        return (
            f"this Idempotency-Key stands for task {self.task}, which has another body; send the same body again, or a "
            "new key with a new one"
        )


@final
class SubmitInProgress(HubError):
    """An `Idempotency-Key` was used again before its first submit was confirmed or withdrawn."""

    code = "submit_in_progress"
    status = 503
    title = "Another submit with this key is under way"

    @override
    def __str__(self) -> str:
        return "another submit with this Idempotency-Key has not been confirmed yet; send it again with the same key"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0
