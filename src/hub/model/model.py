"""The base class of models: the author overrides `process_request` or `process_batch`, over two protobuf messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from typing_extensions import override

from hub.model.definition import ModelDefinition, yields
from hub.model.retry import Retry

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)


class Model(Generic[Req, Resp]):
    """A model: it turns a request message into a response message.

    ```python
    class ModelA(hub.Model[ModelARequest, ModelAResponse]):
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse(reply=f"Processed message: {request.messages}")
    ```

    The formats of request and response come from the type arguments. An unusable class is refused where it is
    defined, with an `InvalidModel` that names the repair. One object of the class serves one instance; it is created
    without arguments.

    A model overrides either `process_request`, or `process_batch` for code that computes many requests almost as fast
    as one.

    Without type arguments (`class ModelA(hub.Model)`) both `get_..._format` methods must be overridden, and
    requests are passed in their serialized form, as `bytes`.

    A model whose `process_request` yields streams: its response is any number of messages, which clients get while it
    runs.

    Attributes:
        name: Name of the model and of its queue. The name of the class unless it is set.
        concurrency: Number of requests that one instance processes at the same time; with `process_batch`, of batches.
        max_batch_size: Number of requests in one call of `process_batch` at most.
        max_batch_wait: Seconds that a request waits for others while its batch is not full, at most. 0: a batch has
            what has arrived meanwhile. A request with a deadline waits for at most half of the time that it has left. A
            batch that is ready may also wait until one of the `concurrency` calls has ended.
        default_timeout: Seconds from submit to outcome, time in the queue included, if the client sends no
            `Hub-Timeout`. `None`: no deadline.
        max_timeout: Maximum timeout in seconds that a client may request; below the broker's consumer timeout. `None`:
            no maximum.
        retry: The errors after which a task is run again. `None`: none.
        run_in_process: Runs a plain `process_request` in a process of its own, which can be killed. See
            `docs/models.md`.
        shares_loop: Runs its coroutines in the event loop of the instance instead of one of their own. It saves a hop
            between two threads, about 0.2 ms for a single request; a coroutine that computes then delays pings and
            heartbeats, and with `hub up` all other models.
        kill_grace: Seconds that a process of `run_in_process` has to end a cancelled request before it is killed.
        streaming: Whether `process_request` is a generator, which is seen when the class is defined. Set it only for
            one that returns an iterator and does not yield itself.
    """

    name: ClassVar[str] = ""
    concurrency: ClassVar[int] = 1
    max_batch_size: ClassVar[int] = 32
    max_batch_wait: ClassVar[float] = 0.01
    default_timeout: ClassVar[float | None] = None
    max_timeout: ClassVar[float | None] = None
    retry: ClassVar[Retry | None] = None
    run_in_process: ClassVar[bool] = False
    shares_loop: ClassVar[bool] = False
    kill_grace: ClassVar[float] = 0.5
    streaming: ClassVar[bool] = False

    def process_request(
        self,
        request: Req,  # noqa: ARG002 - for those that override it
    ) -> Awaitable[Resp] | Resp | AsyncIterator[Resp] | Iterator[Resp]:
        """Processes one request and returns the response, or yields the chunks of the response.

        Write it as `async def`, or as a plain `def`, which then runs in a worker thread. An error that it raises
        becomes the failure of the task, even `SystemExit`. When the task is cancelled or its deadline passes, an `async
        def` is cancelled at its next `await`. A thread cannot be interrupted: its result is discarded, and it counts
        towards `concurrency` until it returns; it can check `hub.current_task().cancelled`. With `run_in_process` it is
        killed if necessary.

        A generator is written as `async def process_request(self, request: Req) -> AsyncIterator[Resp]`, or as a plain
        `def` that returns an `Iterator[Resp]`. It goes on from a `yield` when the store keeps up with its chunks. After
        a cancellation or the deadline it is closed: a plain one at its next `yield`.
        """
        raise ModelDefinition(type(self), Model).unprocessable()

    def process_batch(
        self,
        requests: Sequence[Req],  # noqa: ARG002 - for those that override it
    ) -> Awaitable[Sequence[Resp | Exception]] | Sequence[Resp | Exception]:
        """Processes the requests of several tasks, and returns a response for each, in the same order.

        An exception in the place of a response fails that task only, and is treated as if `process_request` had raised
        it; one that is raised fails all of them. Each task is retried by itself, perhaps in another batch.

        A task that is cancelled, or whose deadline passes, gets its outcome at once, and its response is discarded; the
        others go on. The call is cancelled, as that of `process_request` is, when all of its tasks have ended.
        `hub.current_tasks()` has the tasks of the requests.

        Args:
            requests: From 1 to `max_batch_size` messages.
        """
        raise ModelDefinition(type(self), Model).unprocessable()

    def setup(self) -> Awaitable[None] | None:
        """Called once before the first request: load weights here. `async def`, or plain `def` (in a thread).

        An error that it raises ends the instance, even `SystemExit`.
        """
        return None

    def teardown(self) -> Awaitable[None] | None:
        """Called once after the last request, also if `setup` failed. It has 10 seconds.

        Never while another method runs: if a plain `def` does not return in time, this is not called.
        """
        return None

    def health(self) -> Awaitable[None] | None:
        """Raises if the model cannot process requests now; its instance then answers pings with 503 and this reason.

        `async def`, or plain `def` (in a thread, one at a time). It has one second.
        """
        return None

    def get_request_format(self) -> Descriptor:
        """The descriptor of the request message."""
        return descriptor_of(self._messages()[0])

    def get_response_format(self) -> Descriptor:
        """The descriptor of the response message."""
        return descriptor_of(self._messages()[1])

    @classmethod
    def example(cls) -> Req | None:
        """A request for the documentation of the model. `None`: one with every field at its default."""
        return None

    @classmethod
    def example_json(cls) -> str:
        """`example()` as JSON, on one line; without one, every field at its default, or as its rules demand."""
        message: Message | None = cls.example()
        if message is None:
            messages = ModelDefinition(cls, Model).messages()
            if messages is None:
                return "{}"
            message = messages[0]()
            descriptor = descriptor_of(messages[0])
            # Imported here, because `import hub` alone loads no machinery of contracts.
            from hub.contract.jsonschema.example import example_of  # noqa: PLC0415
            from hub.contract.rules.compiled import messages_with_rules  # noqa: PLC0415

            if messages_with_rules(descriptor):
                return json.dumps(example_of(descriptor) or {})
        return MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)

    @classmethod
    def _messages(cls) -> tuple[type[Message], type[Message]]:
        return messages_of(cls)

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        definition = ModelDefinition(cls, Model)
        definition.check_spelling()
        definition.check_signatures()
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        if "streaming" not in cls.__dict__ and "process_request" in cls.__dict__:
            cls.streaming = yields(cls.process_request)
        if definition.processes_requests:
            definition.check()


AnyModel: TypeAlias = "Model[Any, Any]"
"""A model of any messages, for code that does not depend on them."""


def messages_of(model: type[AnyModel]) -> tuple[type[Message], type[Message]]:
    """The classes of request and response. Raises `InvalidModel` if its type arguments do not name them."""
    definition = ModelDefinition(model, Model)
    messages = definition.messages()
    if messages is None:
        raise definition.unknown_messages()
    return messages


def require_process_request(cls: type[AnyModel]) -> None:
    """Raises `InvalidModel` if the class has neither `process_request` nor `process_batch`, as a base of models may."""
    definition = ModelDefinition(cls, Model)
    if not definition.processes_requests:
        raise definition.unprocessable()


def processes_batches(cls: type[AnyModel]) -> bool:
    """Whether the class has `process_batch` instead of `process_request`."""
    return ModelDefinition(cls, Model).processes_batches


def task_places(cls: type[AnyModel]) -> int:
    """Number of tasks that one instance holds at once: those that are processed and, with batches, those of the next one."""
    return ModelDefinition(cls, Model).task_places


def descriptor_of(message: type[Message]) -> Descriptor:
    """The descriptor of a generated class."""
    return cast(
        "Descriptor", message.DESCRIPTOR
    )  # in the stubs a union with its upb variant; at run time they are one class
