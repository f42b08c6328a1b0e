"""The root of all errors of hub, and those that several components share.

Each class has a machine-readable `code` and an HTTP `status`. The constructor's arguments are stored in `args`, so that
errors pickle, and as attributes; `str()` returns a sentence with the repair. Errors leave a process as an RFC 9457 reply
(`hub.http.problems`) or as a stored outcome (`hub.model.worker`).
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override


class HubError(Exception):
    """The root of the tree.

    Attributes:
        code: Stable, machine-readable name of the kind of error, in `snake_case`: of the class, or of the error if it was
            received from another process (`hub.client`). The same holds for `status` and `title`.
        status: The HTTP status of a reply with this error.
        title: The kind of error in a few words, the same for every occurrence.
        exit_code: The exit code of a process that this error ends.
    """

    code: str = "internal_error"
    status: int = 500
    title: str = "Internal error"
    exit_code: ClassVar[int] = 1

    @property
    def extensions(self) -> dict[str, object]:
        """Details of the error as JSON-ready values: the extension members of the problem (RFC 9457 section 3.2)."""
        return {}

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a retry may succeed; `None` if it will fail in the same way."""
        return None


class ConfigurationError(HubError):
    """A setting, or a combination of settings, is invalid. The process exits with code 2."""

    code = "configuration_error"
    title = "Bad configuration"
    exit_code = 2


class InvalidName(HubError):
    """A model name that is not valid as a queue name and path segment, or reserved; `reserved` is the reason."""

    code = "invalid_name"
    status = 422
    title = "Invalid model name"

    def __init__(self, name: str, reserved: str = "") -> None:
        super().__init__(name, reserved)
        self.name = name
        self.reserved = reserved

    @override
    def __str__(self) -> str:
        if self.reserved:
            return f"{self.name!r} is reserved: {self.reserved}; give the model another name"
        return (
            f"{self.name!r} is not a model name: start with a letter and use up to 64 letters, digits, '_', '.' or '-'"
        )


class RegistryFull(HubError):
    """A limit of the registry does not allow a login. The instance is not registered; it may retry.

    Attributes:
        setting: The setting of the registry with the limit.
        most: The limit.
    """

    code = "registry_full"
    status = 503
    exit_code = 3
    title = "The registry is full"

    def __init__(self, setting: str, most: int) -> None:
        super().__init__(setting, most)
        self.setting = setting
        self.most = most

    @override
    def __str__(self) -> str:
        return (
            f"the registry cannot accept this login ({self.setting} is {self.most}): stop instances that are not "
            f"needed, or raise HUB_{self.setting.upper()} of all registries"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"setting": self.setting, "most": self.most}

    @property
    @override
    def retry_after(self) -> float | None:
        return 10.0


class NotYourInstance(HubError):
    """A call for a registered instance without the secret of its login. It had no effect."""

    code = "not_your_instance"
    status = 403
    exit_code = 2
    title = "The instance has another secret"

    def __init__(self, instance: str) -> None:
        super().__init__(instance)
        self.instance = instance

    @override
    def __str__(self) -> str:
        return (
            f"instance {self.instance} is registered, and this call does not have its secret: send the one that its login "
            "returned in the header Hub-Instance-Secret, or log in under a new UUID; if that instance is dead, it is "
            "removed after some pings"
        )

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"instance": self.instance}


class UnknownModel(HubError):
    """No model of this name has ever logged in. `near` is the similar name of a live model, or empty."""

    code = "unknown_model"
    status = 404
    title = "Unknown model"

    def __init__(self, model: str, near: str = "") -> None:
        super().__init__(model, near)
        self.model = model
        self.near = near

    @override
    def __str__(self) -> str:
        hint = f"did you mean {self.near!r}? " if self.near else ""
        return f"there is no model {self.model!r}; {hint}GET /v1/models lists the ones that are alive"


class ModelUnavailable(HubError):
    """The model is known, and none of its instances is alive."""

    code = "model_unavailable"
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


class ConnectionLost(HubError):
    """The connection to a server broke, could not be opened, or timed out.

    The result of calls in flight is unknown. The owner of the connection opens a new one; see `hub.concurrency.reconnect`.
    """

    code = "connection_lost"
    status = 503
    title = "A server behind the hub is out of reach"
    exit_code = 3

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(server, reason)
        self.server = server
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"connection to {self.server} lost: {self.reason}"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


class ConnectionRefused(ConnectionLost):
    """The server was reached, and a retry will fail in the same way; `reason` has the repair.

    For example wrong credentials, a virtual host that does not exist, or TLS at a port without it. A process whose first
    connection is refused exits with code 2. After a successful connection, a refusal is retried like any other loss,
    because the server may be in the middle of a change.
    """

    code = "connection_refused"
    title = "A server behind the hub refuses the connection"
    exit_code = 2

    @override
    def __str__(self) -> str:
        return f"no connection to {self.server}: {self.reason}"


class CallRefused(ConnectionLost):
    """The server was reached and did not execute a call, for example because it is out of memory or forbids scripts.

    For the caller it is a lost connection: a later attempt may succeed.
    """


class PublishRefused(HubError):
    """The broker did not accept a message; it is not on any queue."""

    code = "publish_refused"
    status = 503
    title = "The broker did not accept the task"

    def __init__(self, queue: str, reason: str) -> None:
        super().__init__(queue, reason)
        self.queue = queue
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"queue {self.queue!r} did not accept the message: {self.reason}"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


class Unroutable(PublishRefused):
    """The queue does not exist: no instance of the model has ever connected to this broker, or the queue was deleted."""

    code = "unroutable"


class QueueFull(PublishRefused):
    """The queue is at its maximum length (`x-max-length` with `reject-publish`)."""

    code = "queue_full"
    status = 429
    title = "The queue of the model is full"


class UnknownQueue(HubError):
    """The broker has no such queue: no instance of the model has ever connected to it, or the queue was deleted."""

    code = "unknown_queue"
    status = 404
    title = "The queue does not exist"

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue = queue

    @override
    def __str__(self) -> str:
        return f"the broker has no queue {self.queue!r}; check the name of the model and the URL of the broker"


class Undecodable(HubError):
    """Bytes from the broker or the store are not the expected protobuf message."""

    code = "undecodable"
    status = 502
    title = "Undecodable message"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"not a valid {self.message}: {self.reason}"
