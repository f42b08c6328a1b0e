"""What the gateway refuses, and what it cannot do right now."""

from __future__ import annotations

from typing import ClassVar, final

from typing_extensions import override

from hub.errors import HubError


@final
class ModelNotAlive(HubError):
    """The model is known, and none of its instances is alive."""

    code = "model_not_alive"
    status = 503
    title = "No instance of the model is alive"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model

    @override
    def __str__(self) -> str:
        return f"no instance of {self.model!r} is alive; start one, or try again when it is back"

    @property
    @override
    def retry_after(self) -> float | None:
        return 5.0


@final
class ModelLoading(HubError):
    """No instance of the model is ready yet, and at least one has logged in and will be: its `setup` may still be running."""

    code = "model_loading"
    status = 503
    title = "The model is loading"

    def __init__(self, model: str, instances: int) -> None:
        super().__init__(model, instances)
        self.model = model
        self.instances = instances

    @override
    def __str__(self) -> str:
        return (
            f"{self.model!r} has logged in and is not ready yet ({self.instances} loading; a setup, if it has one, may "
            "still be running); try again in a few seconds"
        )

    @property
    @override
    def facts(self) -> dict[str, object]:
        return {"loading": self.instances}

    @property
    @override
    def retry_after(self) -> float | None:
        return 5.0


@final
class BrokerBlocked(HubError):
    """The broker takes no messages because of a memory or disk alarm. The task is taken back: it does not run."""

    code = "broker_blocked"
    status = 503
    title = "The broker takes no messages"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @override
    def __str__(self) -> str:
        return (
            f"the broker takes no messages, it says: {self.reason}; the task has been taken back, send it again when the "
            "broker's alarm is over"
        )

    @property
    @override
    def facts(self) -> dict[str, object]:
        return {"reason": self.reason}

    @property
    @override
    def retry_after(self) -> float | None:
        return 5.0


@final
class CatalogMissing(HubError):
    """The registry has not answered once since this gateway started, so nothing can be said about any model."""

    code = "registry_unreachable"
    status = 503
    title = "The registry is out of reach"

    @override
    def __str__(self) -> str:
        return "this gateway has not reached the registry since it started"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class AcceptTimeout(HubError):
    """The store and the broker did not confirm in time. The task is taken back: it does not run."""

    code = "accept_timeout"
    status = 503
    title = "The task was not accepted in time"

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    @override
    def __str__(self) -> str:
        return f"the broker did not confirm the task within {self.seconds:g} s; it has been taken back, send it again"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class GatewayBusy(HubError):
    """More requests arrive than this gateway, its broker and its store can take. Nothing was made of this one."""

    code = "gateway_busy"
    status = 503
    title = "The gateway does not keep up"

    def __init__(self, busy_after: float) -> None:
        super().__init__(busy_after)
        self.busy_after = busy_after

    @override
    def __str__(self) -> str:
        return (
            f"accepting or reading a task takes longer than {self.busy_after:g} s here, so no more are taken for now; send it "
            "again later, or to another gateway (the limit is the gateway's setting busy_after)"
        )

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class Overloaded(HubError):
    """The queue of the model is full: as long as the gateway lets it get, or as the broker does."""

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
                f"the broker did not take the task for {self.model!r} (basic.nack), though none is seen waiting: the "
                "queue's leader may be changing to another node; send the task again later"
            )
        return f"{self.waiting} tasks wait for {self.model!r}, and no more are taken for now; send the task again later"

    @property
    @override
    def facts(self) -> dict[str, object]:
        return {"waiting": self.waiting}

    @property
    @override
    def retry_after(self) -> float | None:
        return self.seconds


class BadRequest(HubError):
    """A request that cannot be served as it stands, whatever the state of the system is."""

    code: ClassVar[str] = "bad_request"
    status = 400
    title = "Bad request"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @override
    def __str__(self) -> str:
        return self.detail


@final
class NotAcceptable(BadRequest):
    """The client takes none of the types that the reply comes in."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


@final
class BadParameter(BadRequest):
    """A query parameter or header is malformed."""

    code = "bad_parameter"


@final
class TimeoutTooLong(HubError):
    """A client asks for more time than the model gives."""

    code = "timeout_too_long"
    status = 400
    title = "The timeout is too long"

    def __init__(self, seconds: float, longest: float) -> None:
        super().__init__(seconds, longest)
        self.seconds = seconds
        self.longest = longest

    @property
    @override
    def facts(self) -> dict[str, object]:
        return {"max_timeout": self.longest}

    @override
    def __str__(self) -> str:
        return f"Hub-Timeout is {self.seconds:.12g} s; tasks of this model may take {self.longest:.12g} s at most"


@final
class UndecodableBody(BadRequest):
    """A protobuf body that is not the request message of the model."""

    code = "invalid_request"
    status = 422
    title = "Not the request message of the model"


@final
class IdempotencyConflict(HubError):
    """An `Idempotency-Key` came again with another request."""

    code = "idempotency_conflict"
    status = 409
    title = "The key was used for another request"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @property
    @override
    def facts(self) -> dict[str, object]:
        return {"task": self.task}

    @override
    def __str__(self) -> str:
        return (
            f"this Idempotency-Key stands for task {self.task}, which has another body; send the same body again, or a "
            "new key with a new one"
        )


@final
class SubmitUnderWay(HubError):
    """An `Idempotency-Key` came again while the fate of its first submit is still open."""

    code = "submit_under_way"
    status = 503
    title = "Another submit with this key is under way"

    @override
    def __str__(self) -> str:
        return "another submit with this Idempotency-Key has not been confirmed yet; send it again with the same key"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class HungUp(HubError):
    """The client of a synchronous call has closed its connection; nobody reads the reply. 499 as in nginx's logs."""

    code = "client_hung_up"
    status = 499
    title = "The client has hung up"

    @override
    def __str__(self) -> str:
        return "the client closed its connection before its task ended"


@final
class LineTooLong(HubError):
    """A line of a batch is longer than the body of a single request may be."""

    code = "content_too_large"
    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    @override
    def __str__(self) -> str:
        return f"the line is longer than {self.limit} bytes, which is the most that this gateway takes for one request"


@final
class TooManyBlanks(HubError):
    """A batch has far more blank lines than requests."""

    code = "content_too_large"
    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int, index: int) -> None:
        super().__init__(limit, index)
        self.limit = limit
        self.index = index

    @override
    def __str__(self) -> str:
        return (
            f"the batch has more than {self.limit} bytes of blank lines beyond those of its requests; line {self.index} and "
            "all after it were not taken, send them without blank lines"
        )


@final
class BatchCutShort(HubError):
    """The gateway stops in the middle of a batch."""

    code = "batch_cut_short"
    status = 503
    title = "The gateway stops"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index

    @override
    def __str__(self) -> str:
        return f"this gateway stops; line {self.index} and all after it were not taken, send them again"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0
