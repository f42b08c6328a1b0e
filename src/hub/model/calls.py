"""Calls of other models from `process_request`: what `CurrentTask` needs for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from hub.model.errors import CallFailed, CallsUnavailable
from hub.model.model import Model, descriptor_of, messages_of
from hub.types import ModelName, TaskId, model_name

if TYPE_CHECKING:
    from hub.contract import Transcoder

Resp = TypeVar("Resp", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """A call of another model.

    Attributes:
        model: Whose queue it goes to.
        body: The serialized request.
        request: The descriptor of the request.
        response: The descriptor of the response that the caller expects.
    """

    model: ModelName
    body: bytes
    request: Descriptor
    response: Descriptor


class TaskCalls(Protocol):
    """Makes the calls of one run. The instance provides it; its coroutines may be awaited in the model's event loop.

    Every method raises `CallsUnavailable` where it cannot work, and `RunOver` once the run has ended.
    """

    async def call(self, request: CallRequest) -> bytes:
        """Submits a task, waits for it, and cancels it if the caller is cancelled. Returns the serialized response."""
        ...

    def call_from_thread(self, request: CallRequest) -> bytes:
        """As `call`, from a thread without an event loop."""
        ...

    async def submit(self, request: CallRequest) -> TaskId: ...

    async def result(self, task: TaskId) -> bytes: ...

    async def cancel(self, task: TaskId) -> None: ...


@final
class ChildTask(Generic[Resp]):
    """A task that a model has submitted to another model. It ends at the latest with the task of the caller.

    Attributes:
        id: Its id; clients find it at `GET /v1/tasks/{id}`.
        model: The model that processes it.
    """

    def __init__(self, calls: TaskCalls, task: TaskId, model: ModelName, response: type[Resp]) -> None:
        self.id = task
        self.model = model
        self._calls = calls
        self._response = response

    async def result(self) -> Resp:
        """Waits for the response. May be called again. Cancelling it leaves the task running.

        Raises:
            CallFailed: The task has ended without a response, or its result is lost.
        """
        return parsed(self.model, self.id, self._response, await self._calls.result(self.id))

    async def cancel(self) -> None:
        """Ends the task as cancelled, with all that it has submitted. Does nothing if it has ended."""
        await self._calls.cancel(self.id)


def call_request(
    model: type[Model[Any, Resp]] | str, request: Message, response: type[Resp] | None
) -> tuple[CallRequest, type[Resp]]:
    """The call, and the class of its response.

    Raises:
        BrokenRules: `request` breaks rules of its `.proto` file.
        CallsUnavailable: The model streams its response.
        InvalidName: `model` is no name of a model.
        InvalidModel: The class has no declared messages.
        TypeError: `request` is no request of the model, or a name came without the class of the response.
    """
    if isinstance(model, str):
        name = model_name(model)
        if response is None:
            raise TypeError(f"call({model!r}, request, SomeResponse): the class of the response is missing")
        expected = type(request)
    else:
        name = model_name(model.name)
        if model.streaming:
            raise CallsUnavailable(f"{name} streams its response", "submit its task as a client, to the gateway")
        classes = messages_of(model)
        expected, response = classes[0], cast("type[Resp]", classes[1])  # by the type arguments of `model`
    if not isinstance(request, expected):
        raise TypeError(f"{name} takes a {expected.__qualname__}, not {type(request).__qualname__}")
    _transcoder(descriptor_of(expected)).check(request)  # as the gateway checks the requests of clients
    return (
        CallRequest(
            model=name,
            body=request.SerializeToString(deterministic=True),
            request=descriptor_of(expected),
            response=descriptor_of(response),
        ),
        response,
    )


@lru_cache(256)
def _transcoder(message: Descriptor) -> Transcoder:
    # Imported here, because `import hub` alone loads no machinery of contracts.
    from hub.contract import Transcoder  # noqa: PLC0415
    from hub.contract.rules.compiled import compile_rules  # noqa: PLC0415

    return Transcoder(message, rules=compile_rules(message))


def parsed(model: ModelName, task: TaskId | None, response: type[Resp], body: bytes) -> Resp:
    """The response message. Raises `CallFailed` if `body` is none."""
    try:
        return response.FromString(body)
    except DecodeError as error:
        raise CallFailed(
            model, task or "", "undecodable", f"its response is no {response.__qualname__}: {error}"
        ) from error
