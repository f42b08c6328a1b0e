"""Errors in the use of a model, apart from those that its own code raises."""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from hub.errors import ConfigurationError, HubError, Undecodable
from hub.observability.tracebacks import STORED_LINES, Described, lines
from hub.types import MAX_NESTING


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


class ModelNotStarted(HubError):
    """The model's own `__init__` or `setup` raised, so there is no instance. The process exits with code 2.

    Attributes:
        step: The method that raised.
        blame: The error and the author's line; see `hub.model.execution.error_text`.
    """

    code = "model_not_started"
    title = "The model could not be started"
    exit_code = 2

    def __init__(self, model: str, step: str, blame: str) -> None:
        super().__init__(model, step, blame)
        self.model = model
        self.step = step
        self.blame = blame

    @override
    def __str__(self) -> str:
        return f"{self.step} of model {self.model} raised {self.blame}"


class WrongResponse(HubError):
    """`process_request` returned a value that is not the model's response message, or `process_batch` did in a place."""

    code = "wrong_response"
    title = "The model did not return its response message"

    def __init__(self, model: str, expected: str, returned: str, method: str = "process_request") -> None:
        super().__init__(model, expected, returned, method)
        self.model = model
        self.expected = expected
        self.returned = returned
        self.method = method

    @override
    def __str__(self) -> str:
        return (
            f"{self.method} of {self.model} returned {self.returned}: return a {self.expected}, "
            "or change the response type of the model"
        )


class WrongBatch(HubError):
    """`process_batch` returned something else than one response or exception for each request. All its tasks fail."""

    code = "wrong_batch"
    title = "The model did not return a response for each request"

    def __init__(self, model: str, returned: str) -> None:
        super().__init__(model, returned)
        self.model = model
        self.returned = returned

    @override
    def __str__(self) -> str:
        return (
            f"process_batch of {self.model} returned {self.returned}: return a list with one response, or exception, for "
            "each request, in the order of the requests"
        )


class UnreadableResponse(HubError):
    """`process_request`, or `process_batch` in a place, returned a message whose serialized form cannot be parsed.

    protobuf serializes messages of any depth and parses them to a depth of 100
    (https://protobuf.dev/programming-guides/proto-limits/).
    """

    code = "unreadable_response"
    title = "The response cannot be read back"

    def __init__(self, model: str, message: str, reason: str, method: str = "process_request") -> None:
        super().__init__(model, message, reason, method)
        self.model = model
        self.message = message
        self.reason = reason
        self.method = method

    @override
    def __str__(self) -> str:
        text = f"{self.method} of {self.model} returned a {self.message} that no protobuf parser accepts: {self.reason}"
        if "MaxDepth" not in self.reason:
            return f"{text}; build it from the generated class of the model's response type"
        return (
            f"{text}. Its messages are nested more than {MAX_NESTING} deep, which is protobuf's limit (each object of a "
            "Struct counts three times): return a flatter message, or the deep part as a string or bytes"
        )


class StreamTooLarge(HubError):
    """The chunks that a run has yielded have more bytes than `stream_limit`. The task fails, and is not retried."""

    code = "stream_too_large"
    title = "The stream is too large"

    def __init__(self, limit: int, chunks: int) -> None:
        super().__init__(limit, chunks)
        self.limit = limit
        self.chunks = chunks

    @override
    def __str__(self) -> str:
        return (
            f"its stream has more than the {self.limit} bytes that are allowed, after {self.chunks} chunks: yield less (the "
            "address of a file, say), or raise stream_limit of its instances (HUB_STREAM_LIMIT)"
        )


class ChunkTooLarge(HubError):
    """One chunk has more bytes than `result_limit`. The task fails, and is not retried."""

    code = "result_too_large"
    title = "A chunk is too large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    @override
    def __str__(self) -> str:
        return (
            f"a chunk of its stream has {self.size} bytes, and {self.limit} are allowed: yield smaller ones, or raise "
            "result_limit of its instances (HUB_RESULT_LIMIT)"
        )


class NotInTask(HubError):
    """`current_task()` was called outside of `process_request`.

    Attributes:
        batch: Number of tasks if it was called in `process_batch`; otherwise 0.
    """

    code = "not_in_task"
    title = "No task is being processed here"

    def __init__(self, batch: int = 0) -> None:
        super().__init__(batch)
        self.batch = batch

    @override
    def __str__(self) -> str:
        if self.batch:
            return (
                "current_task() was called in process_batch, which processes several tasks at once; call current_tasks(), "
                "which has one for each request, in the same order"
            )
        return "current_task() was called where no task is being processed; call it inside process_request"


class CallFailed(HubError):
    """A task that the model has made for another model has ended without a response.

    If the caller does not catch it, it is the failure of the caller's own task; `retry` of the model may name it.

    Attributes:
        model: The model that was called.
        task: The id of the task; empty if it is unknown.
        failure: The code of its failure, such as `model_error`, `deadline_exceeded` or `cancelled`.
        text: The text of its failure.
        type: The class of the exception that the other model raised, with its module; empty if there was none.
    """

    code = "call_failed"
    status = 502
    title = "A call of another model failed"

    def __init__(self, model: str, task: str, failure: str, text: str, type: str = "") -> None:  # noqa: A002 - as in failures
        super().__init__(model, task, failure, text, type)
        self.model = model
        self.task = task
        self.failure = failure
        self.text = text
        self.type = type

    @override
    def __str__(self) -> str:
        raised = f"{self.type}: " if self.type else ""
        where = f" (task {self.task})" if self.task else ""
        return f"the call of {self.model} ended with {self.failure}: {raised}{self.text}{where}"


class CallCycle(HubError):
    """A model was called that is processing one of the tasks that wait for this one: it could wait for itself forever.

    Attributes:
        path: Names of the models, from that of the first task to the one that was called.
    """

    code = "call_cycle"
    title = "The models call each other in a circle"

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(path)
        self.path = path

    @override
    def __str__(self) -> str:
        return (
            f"{' -> '.join(self.path)} is a circle: each of these tasks keeps its place in `concurrency` while it waits, so "
            "they could wait for each other forever; call a model that is not in the chain"
        )


class TooManyCalls(HubError):
    """One task has made as many tasks as it may, all its attempts together."""

    code = "too_many_calls"
    title = "The task has made too many calls"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    @override
    def __str__(self) -> str:
        return f"this task has called other models {self.limit} times, which is the limit; put more into one request"


class CallsUnavailable(HubError):
    """Other models cannot be called from here."""

    code = "calls_unavailable"
    title = "No calls of other models from here"

    def __init__(self, reason: str, repair: str) -> None:
        super().__init__(reason, repair)
        self.reason = reason
        self.repair = repair

    @override
    def __str__(self) -> str:
        return f"other models cannot be called here: {self.reason}; {self.repair}"


class RunOver(HubError):
    """A call for a task whose run has ended: it was cancelled, its deadline has passed, or `process_request` has returned."""

    code = "run_over"
    title = "The task is not processed any more"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @override
    def __str__(self) -> str:
        return f"task {self.task} is not processed here any more, so it can call no models"


class UnexpectedCancellation(HubError):
    """A method of the model ended with a cancellation that hub did not request."""

    code = "unexpected_cancellation"
    title = "The model was cancelled from within"

    def __init__(self, method: str = "process_request") -> None:
        super().__init__(method)
        self.method = method

    @override
    def __str__(self) -> str:
        return (
            f"{self.method} ended with a cancellation that hub did not request; catch it where the model waits for "
            "something that is cancelled, such as a task or a connection of its own"
        )


class ModelExit(HubError):
    """A method of the model raised an error that is not an `Exception`: `SystemExit`, `KeyboardInterrupt` and the like.

    Attributes:
        method: Name of the method.
        type: Full name of the class of the error, without `builtins`.
        text: Text of the error.
    """

    code = "model_exit"
    title = "The model tried to end its process"

    def __init__(self, method: str, type: str, text: str) -> None:  # noqa: A002 - the name in failures
        super().__init__(method, type, text)
        self.method = method
        self.type = type
        self.text = text

    @override
    def __str__(self) -> str:
        shown = f"{self.type}: {self.text}" if self.text else self.type
        return f"{self.method} raised {shown}. A model cannot end its process: raise an Exception if something failed"


class ProcessDied(HubError):
    """The process in which a model ran has ended by itself: it crashed, was killed, or called `os._exit`."""

    code = "process_died"
    title = "The process of the model died"

    def __init__(self, model: str, end: str) -> None:
        super().__init__(model, end)
        self.model = model
        self.end = end

    @override
    def __str__(self) -> str:
        return f"the process in which {self.model} ran has died: {self.end}"


class ChildError(Exception):
    """An error that a model raised in a process of its own, as text: the object itself stays in that process.

    Not a `HubError`, because it represents an error of the model.

    Attributes:
        code: Code of the failure of the task: `model_error`, or the `code` of one of hub's own errors.
        mro: Full names of the error's class and of all that it inherits from, itself first: `builtins.ValueError`.
        message: Its text.
        described: The error and its causes, from `hub.observability.tracebacks.describe`.
        traceback: The same as text; also a note of this error.
    """

    def __init__(self, code: str, mro: tuple[str, ...], message: str, described: tuple[Described, ...]) -> None:
        super().__init__(code, mro, message, described)
        self.code = code
        self.mro = mro
        self.message = message
        self.described = described
        self.traceback = "\n".join(lines(described, STORED_LINES))
        self.add_note(self.traceback)

    @property
    def type(self) -> str:
        """The name of the error's class, as failures show it: without `builtins`."""
        return self.mro[0].removeprefix("builtins.")

    @override
    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class MalformedFrame(HubError):
    """The process of a model sent bytes that are not a frame, such as output of the model's own."""

    code = "malformed_frame"
    title = "The process of the model broke its protocol"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"not a frame: {self.reason}"


class FrameTooLarge(HubError):
    """A request or a response is too large for the pipe between an instance and the process of its model."""

    code = "frame_too_large"
    title = "The message is too large for the process of the model"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    @override
    def __str__(self) -> str:
        return f"a message of {self.size} bytes, and {self.limit} are allowed: send a reference to data of this size"


RAISED_AGAIN: Final[tuple[type[HubError], ...]] = (Undecodable, WrongResponse, WrongBatch, UnreadableResponse)
"""Errors of hub that are raised again in the instance with their own class; their `args` are texts."""
