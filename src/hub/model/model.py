"""The base class of models: the author overrides `process_request` or `process_batch`, over two protobuf messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, unwrap
from math import isfinite
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from typing_extensions import override

from hub.errors import InvalidName
from hub.model.errors import InvalidModel
from hub.model.misspellings import BATCH_PROCESSING, PROCESSING, misspellings
from hub.model.retry import Retry
from hub.types import model_name

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

_REPAIR = (
    "Write `class {name}(hub.Model[SomeRequest, SomeResponse])` with two classes that protoc generated, "
    "or override get_request_format and get_response_format"
)

_BATCH_SETTINGS: Final = ("max_batch_size", "max_batch_wait")

MAX_TASKS: Final = 65_535
"""Tasks that one instance may hold at once: the largest prefetch count of AMQP 0-9-1 (`basic.qos`, a short)."""


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

    A model overrides either `process_request`, or `process_batch` for code that computes many requests almost as fast as
    one.

    Without type arguments (`class ModelA(hub.Model)`) both `get_..._format` methods must be overridden, and
    requests are passed in their serialized form, as `bytes`.

    A model whose `process_request` yields streams: its response is any number of messages, which clients get while it runs.

    Attributes:
        name: Name of the model and of its queue. The name of the class unless it is set.
        concurrency: Number of requests that one instance processes at the same time; with `process_batch`, of batches.
        max_batch_size: Number of requests in one call of `process_batch` at most.
        max_batch_wait: Seconds that a request waits for others while its batch is not full, at most. 0: a batch has what
            has arrived meanwhile. A request with a deadline waits for at most half of the time that it has left. A batch
            that is ready may also wait until one of the `concurrency` calls has ended.
        default_timeout: Seconds from submit to outcome, time in the queue included, if the client sends no
            `Hub-Timeout`. `None`: no deadline.
        max_timeout: Maximum timeout in seconds that a client may request; below the broker's consumer timeout. `None`: no
            maximum.
        retry: The errors after which a task is run again. `None`: none.
        run_in_process: Runs a plain `process_request` in a process of its own, which can be killed. See `docs/models.md`.
        shares_loop: Runs its coroutines in the event loop of the instance instead of one of their own. It saves a hop
            between two threads, about 0.2 ms for a single request; a coroutine that computes then delays pings and
            heartbeats, and with `hub up` all other models.
        kill_grace: Seconds that a process of `run_in_process` has to end a cancelled request before it is killed.
        streaming: Whether `process_request` is a generator, which is seen when the class is defined. Set it only for one
            that returns an iterator and does not yield itself.
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

        Write it as `async def`, or as a plain `def`, which then runs in a worker thread. An error that it raises becomes the
        failure of the task, even `SystemExit`. When the task is cancelled or its deadline passes, an `async def` is cancelled at its next
        `await`. A thread cannot be interrupted: its result is discarded, and it counts towards `concurrency` until it
        returns; it can check `hub.current_task().cancelled`. With `run_in_process` it is killed if necessary.

        A generator is written as `async def process_request(self, request: Req) -> AsyncIterator[Resp]`, or as a plain `def`
        that returns an `Iterator[Resp]`. It goes on from a `yield` when the store keeps up with its chunks. After a
        cancellation or the deadline it is closed: a plain one at its next `yield`.
        """
        raise _unprocessable(type(self))

    def process_batch(
        self,
        requests: Sequence[Req],  # noqa: ARG002 - for those that override it
    ) -> Awaitable[Sequence[Resp | Exception]] | Sequence[Resp | Exception]:
        """Processes the requests of several tasks, and returns a response for each, in the same order.

        An exception in the place of a response fails that task only, and is treated as if `process_request` had raised it;
        one that is raised fails all of them. Each task is retried by itself, perhaps in another batch.

        A task that is cancelled, or whose deadline passes, gets its outcome at once, and its response is discarded; the
        others go on. The call is cancelled, as that of `process_request` is, when all of its tasks have ended.
        `hub.current_tasks()` has the tasks of the requests.

        Args:
            requests: From 1 to `max_batch_size` messages.
        """
        raise _unprocessable(type(self))

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
            messages = _message_classes(cls)
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
        messages = _message_classes(cls)
        if messages is None:
            raise InvalidModel(cls.__qualname__, "its messages are unknown", _REPAIR.format(name=cls.__name__))
        return messages

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_spelling(cls)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        if "streaming" not in cls.__dict__ and "process_request" in cls.__dict__:
            cls.streaming = _yields(cls.process_request)
        if _overrides(cls, "process_request") or _overrides(cls, "process_batch"):
            _check(cls)


AnyModel: TypeAlias = "Model[Any, Any]"
"""A model of any messages, for code that does not depend on them."""


def messages_of(model: type[AnyModel]) -> tuple[type[Message], type[Message]]:
    """The classes of request and response. Raises `InvalidModel` if its type arguments do not name them."""
    messages = _message_classes(model)
    if messages is None:
        raise InvalidModel(model.__qualname__, "its messages are unknown", _REPAIR.format(name=model.__name__))
    return messages


def require_process_request(cls: type[AnyModel]) -> None:
    """Raises `InvalidModel` if the class has neither `process_request` nor `process_batch`, as a base of models may."""
    if not (_overrides(cls, "process_request") or _overrides(cls, "process_batch")):
        raise _unprocessable(cls)


def processes_batches(cls: type[AnyModel]) -> bool:
    """Whether the class has `process_batch` instead of `process_request`."""
    return _overrides(cls, "process_batch")


def task_places(cls: type[AnyModel]) -> int:
    """Number of tasks that one instance holds at once: those that are processed and, with batches, those of the next one."""
    return (cls.concurrency + 1) * cls.max_batch_size if processes_batches(cls) else cls.concurrency


def _unprocessable(cls: type[AnyModel]) -> InvalidModel:
    def methods(names: Sequence[str]) -> list[str]:
        return [name for name in names if any(callable(vars(base).get(name)) for base in cls.__mro__)]

    if batches := methods(BATCH_PROCESSING):
        write = f"Rename its {batches[0]} to process_batch"
    elif others := methods(PROCESSING):
        write = f"Rename its {others[0]} to process_request"
    else:
        write = "Write `def process_request(self, request)`, or `def process_batch(self, requests)`"
    return InvalidModel(cls.__qualname__, "it has no process_request", f"{write}, plain or async")


def _check_spelling(cls: type[AnyModel]) -> None:
    methods = {name for name, value in vars(Model).items() if callable(value) or isinstance(value, classmethod)}
    methods = {name for name in methods if not name.startswith("_")}
    settings = {name for name in Model.__annotations__ if not name.startswith("_")}
    if not processes_batches(cls):
        settings.difference_update(_BATCH_SETTINGS)  # so that names like batch_size are the author's
    below = [base for base in cls.__mro__ if base is not Model and base not in Model.__mro__]
    overridden = {name for base in below for name in vars(base) if name != "name" or base is cls}
    found = dict(
        misspellings(vars(cls), settings=settings, methods=methods, overridden=overridden & (settings | methods))
    )
    for name in methods & vars(cls).keys():
        if not (callable(vars(cls)[name]) or isinstance(vars(cls)[name], classmethod | staticmethod)):
            raise InvalidModel(cls.__qualname__, f"its {name} is {vars(cls)[name]!r}", f"Write {name} as a method")
    if found:
        shown = "; ".join(f"`{name}`: did you mean `{'` or `'.join(meant)}`?" for name, meant in found.items())
        raise InvalidModel(
            cls.__qualname__,
            f"hub has no {', '.join(found)}",
            f"{shown} (attributes of your own need another name, such as `_{next(iter(found))}`)",
        )


def _check(cls: type[AnyModel]) -> None:
    try:
        model_name(cls.name)
    except (InvalidName, TypeError) as error:
        raise InvalidModel(cls.__qualname__, str(error), "Set `name` in the class") from error
    if not _is_number(cls.concurrency) or cls.concurrency < 1 or cls.concurrency != int(cls.concurrency):
        raise InvalidModel(
            cls.__qualname__, f"its concurrency is {cls.concurrency!r}", "Set `concurrency` to a whole number from 1"
        )
    _check_batches(cls)
    if not _is_retry(cls.retry):
        raise InvalidModel(cls.__qualname__, f"its retry is {cls.retry!r}", "Set it to a `hub.Retry(...)`, or to None")
    _check_times(cls)
    overridden = tuple(_overrides(cls, method) for method in ("get_request_format", "get_response_format"))
    repair = _REPAIR.format(name=cls.__name__)
    arguments = type_arguments(cls, Model)
    if arguments is None:
        if not all(overridden):
            raise InvalidModel(cls.__qualname__, "its request and response are not declared", repair)
        return
    for what, argument, free in zip(("request", "response"), arguments, overridden, strict=True):
        if not (free or _is_generated(argument)):
            shown = getattr(argument, "__qualname__", None) or str(argument)
            raise InvalidModel(
                cls.__qualname__, f"its {what} is {shown}, which is not a generated message class", repair
            )


def _check_batches(cls: type[AnyModel]) -> None:
    if not processes_batches(cls):
        useless = [name for name in _BATCH_SETTINGS if _overrides(cls, name)]
        if useless:
            raise InvalidModel(
                cls.__qualname__,
                f"it has {' and '.join(useless)}, but no process_batch",
                "Write `def process_batch(self, requests)` instead of process_request, or leave them out",
            )
        return
    if _overrides(cls, "process_request"):
        raise InvalidModel(
            cls.__qualname__,
            "it has both process_request and process_batch",
            "Remove one of them: hub calls process_batch also for a single request",
        )
    if _yields(cls.process_batch):
        raise InvalidModel(
            cls.__qualname__,
            "its process_batch is a generator",
            "Return a list with one response for each request instead of a `yield`",
        )
    size, wait = cls.max_batch_size, cls.max_batch_wait
    if not _is_number(size) or not isfinite(size) or size < 1 or size != int(size):
        raise InvalidModel(
            cls.__qualname__, f"its max_batch_size is {size!r}", "Set `max_batch_size` to a whole number from 1"
        )
    if not (_is_number(wait) and isfinite(wait) and wait >= 0):
        raise InvalidModel(cls.__qualname__, f"its max_batch_wait is {wait!r}", "Set it to seconds from 0")
    if task_places(cls) > MAX_TASKS:
        raise InvalidModel(
            cls.__qualname__,
            f"its instances would hold {task_places(cls)} tasks at once, and {MAX_TASKS} are allowed",
            "Lower `max_batch_size`, or `concurrency`",
        )


def _check_times(cls: type[AnyModel]) -> None:
    for name in ("default_timeout", "max_timeout"):
        seconds: float | None = getattr(cls, name)
        if seconds is not None and not (_is_number(seconds) and isfinite(seconds) and seconds > 0):
            raise InvalidModel(cls.__qualname__, f"its {name} is {seconds!r}", "Set it to seconds above 0, or to None")
    if cls.default_timeout is not None and cls.max_timeout is not None and cls.default_timeout > cls.max_timeout:
        raise InvalidModel(
            cls.__qualname__,
            f"its default_timeout ({cls.default_timeout:g} s) is above its max_timeout ({cls.max_timeout:g} s)",
            "Lower the first or raise the second",
        )
    method = "process_batch" if processes_batches(cls) else "process_request"
    if cls.run_in_process and _is_async(getattr(cls, method)):
        raise InvalidModel(
            cls.__qualname__,
            f"it has run_in_process, but its {method} is async",
            "Write it as a plain `def`, or leave `run_in_process` out",
        )
    if not (_is_number(cls.kill_grace) and cls.kill_grace >= 0):
        raise InvalidModel(cls.__qualname__, f"its kill_grace is {cls.kill_grace!r}", "Set it to seconds from 0")


def _yields(method: Callable[..., object]) -> bool:
    function = unwrap(method)
    return isasyncgenfunction(function) or isgeneratorfunction(function)


def _is_async(method: Callable[..., object]) -> bool:
    return iscoroutinefunction(method) or isasyncgenfunction(method)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value is not True and value is not False


def _is_retry(value: object) -> bool:
    return value is None or isinstance(value, Retry)


def _overrides(cls: type, method: str) -> bool:
    return getattr(cls, method) is not getattr(Model, method)


def _message_classes(cls: type[AnyModel]) -> tuple[type[Message], type[Message]] | None:
    arguments = type_arguments(cls, Model)
    if arguments is None or not all(_is_generated(argument) for argument in arguments):
        return None
    request, response = arguments
    return request, response


def _is_generated(argument: object) -> bool:
    return isinstance(argument, type) and issubclass(argument, Message) and argument is not Message


def descriptor_of(message: type[Message]) -> Descriptor:
    """The descriptor of a generated class."""
    return cast(
        "Descriptor", message.DESCRIPTOR
    )  # in the stubs a union with its upb variant; at run time they are one class


def type_arguments(cls: type, origin: type) -> tuple[Any, ...] | None:
    """The type arguments of `cls` for its generic ancestor `origin`, through any number of classes in between.

    An unbound argument is a `TypeVar`. `None`: no ancestor of `cls` has arguments for `origin`.
    """
    # 3.11 has no types.get_original_bases; a class without subscripted bases has no __orig_bases__ of its own.
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        ancestor = get_origin(base) or base
        if ancestor is origin:
            return get_args(base) or None
        if isinstance(ancestor, type) and issubclass(ancestor, origin):
            inherited = type_arguments(ancestor, origin)
            if inherited is not None:
                parameters: tuple[TypeVar, ...] = getattr(ancestor, "__parameters__", ())
                given = dict(zip(parameters, get_args(base), strict=False))
                return tuple(given.get(argument, argument) for argument in inherited)
    return None
