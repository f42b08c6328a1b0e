"""What can be wrong with a model, besides what it raises itself."""

from __future__ import annotations

from typing_extensions import override

from hub.errors import ConfigurationError, HubError


class InvalidModel(ConfigurationError):
    """A model class that cannot work as it is written. Raised where the class is defined."""

    code = "invalid_model"
    title = "The model class is not usable"

    def __init__(self, model: str, reason: str, repair: str) -> None:
        super().__init__(model, reason, repair)
        self.model = model
        self.reason = reason
        self.repair = repair

    @override
    def __str__(self) -> str:
        return f"model {self.model}: {self.reason}. {self.repair}"


class WrongResponse(HubError):
    """`process_request` returned something else than the model's response message."""

    code = "wrong_response"
    title = "The model returned something else than its response message"

    def __init__(self, model: str, expected: str, returned: str) -> None:
        super().__init__(model, expected, returned)
        self.model = model
        self.expected = expected
        self.returned = returned

    @override
    def __str__(self) -> str:
        return (
            f"process_request of {self.model} returned {self.returned}: return a {self.expected}, "
            "or change the response type of the model"
        )


class NotInTask(HubError):
    """`current_task()` was called outside of `process_request`."""

    code = "not_in_task"
    title = "No task is being processed here"

    @override
    def __str__(self) -> str:
        return "current_task() was called where no task is being processed; call it inside process_request"


class StrayCancellation(HubError):
    """`process_request` ended with a cancellation that nobody had asked for."""

    code = "stray_cancellation"
    title = "The model was cancelled from within"

    @override
    def __str__(self) -> str:
        return (
            "process_request ended with a cancellation that hub did not ask for; catch it where the model waits for "
            "something that is cancelled, such as a task or a connection of its own"
        )
