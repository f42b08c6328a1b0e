"""`hub.SyncClient`: the client for code without an event loop, such as scripts and notebooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast, final, overload

from google.protobuf.message import Message
from typing_extensions import override

from hub.client.batch import BatchAnswer
from hub.client.client import RETRY_FOR, Client
from hub.client.errors import GatewayError
from hub.client.messages import AnyRequest, Json, JsonRequest, ModelOrName
from hub.client.portal import LoopThread
from hub.client.snapshot import ModelContract, ModelEntry, TaskSnapshot
from hub.client.streams import MessageStream, TaskChanges
from hub.client.task import TaskHandle
from hub.model.model import Model
from hub.types import Backend

T = TypeVar("T")
Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)


class SyncIterator(Iterator[T]):
    """An iterator over something that an event loop in another thread yields."""

    def __init__(self, loop: LoopThread[Client], items: AsyncIterator[T]) -> None:
        self._loop = loop
        self._items = items

    @override
    def __next__(self) -> T:
        async def following() -> tuple[T, ...]:
            try:
                return (await anext(self._items),)
            except StopAsyncIteration:
                return ()

        for item in self._loop.run(following):
            return item
        raise StopIteration


@final
class SyncMessageStream(SyncIterator[T]):
    """The chunks of a streaming model; see `MessageStream`. Leave it before its end by `with`, or `close()`."""

    def __init__(self, loop: LoopThread[Client], stream: MessageStream[T]) -> None:
        super().__init__(loop, stream)
        self._stream = stream

    @property
    def task(self) -> str:
        """Id of the task; empty before the first chunk of a call."""
        return self._stream.task

    @property
    def attempt(self) -> int:
        """The attempt that the last chunk belongs to; 0 before the first one."""
        return self._stream.attempt

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream before its end; that of a call cancels its task."""
        self._loop.run(self._stream.aclose)


@final
class SyncTaskHandle(Generic[T]):
    """A task at the gateway; see `TaskHandle`."""

    def __init__(self, loop: LoopThread[Client], handle: TaskHandle[T]) -> None:
        self.id = handle.id
        self._loop = loop
        self._handle = handle

    def status(self) -> TaskSnapshot:
        """The task as it is now."""
        return self._loop.run(self._handle.status)

    def wait(self) -> TaskSnapshot:
        """Waits until the task has ended, in whatever way."""
        return self._loop.run(self._handle.wait)

    def result(self) -> T:
        """Waits for the response. Raises `TaskUnsuccessful` if there is none."""
        return self._loop.run(self._handle.result)

    def cancel(self) -> TaskSnapshot:
        """Ends the task as cancelled. Does nothing if it has ended."""
        return self._loop.run(self._handle.cancel)

    def events(self) -> SyncIterator[TaskSnapshot]:
        """The task as it is and each change of it, until it has ended."""
        changes: TaskChanges = self._handle.events()
        return SyncIterator(self._loop, changes)

    def chunks(self, *, on_restart: Callable[[int], None] | None = None) -> SyncMessageStream[T]:
        """The chunks of the task of a streaming model, from the first one."""
        return SyncMessageStream(self._loop, self._handle.chunks(on_restart=on_restart))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SyncBatchAnswer(Generic[T]):
    """The answer to one request of a batch; see `BatchAnswer`."""

    index: int
    task: SyncTaskHandle[T] | None = None
    error: GatewayError | None = None


@final
class SyncClient:
    """A client of the models behind one gateway, for code without `await`; the methods and errors are those of `Client`.

    ```python
    client = hub.SyncClient("http://127.0.0.1:8000")
    reply = client.call(ModelA, ModelARequest(messages="hello"))
    ```

    It works in a notebook cell too, where an event loop runs in the same thread: its own event loop is in a thread that starts
    with the first call. That ends with `close()`, with the block of `with hub.SyncClient() as client`, or with the process. Any
    number of threads may share it. Ctrl-C during a call cancels the task of the call.

    `timeout` is the deadline of a task; where a `Client` would take that of the cancel scopes, there is none here.

    Args:
        url: The gateway; by default `HUB_GATEWAY_URL`, or the one of `hub up` on this machine.
        api_key: Sent with each request; by default `HUB_API_KEY`.
        retry_for: Seconds that failures in a row are retried; 0 for no retries.
        connections: Connections at a time.
        backend: The event loop.

    Raises:
        ConfigurationError: The URL is not one of http or https.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retry_for: float = RETRY_FOR,
        connections: int = 100,
        backend: Backend = "asyncio",
    ) -> None:
        client = Client(url, api_key=api_key, retry_for=retry_for, connections=connections)
        self.url = client.url
        self._loop: LoopThread[Client] = LoopThread(lambda: client, backend=backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread. Tasks go on; streams of calls that were left open, too."""
        self._loop.close()

    @overload
    def call(
        self,
        model: type[Model[Req, Resp]],
        request: Req | JsonRequest,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Resp: ...

    @overload
    def call(
        self,
        model: str,
        request: AnyRequest,
        response: type[Resp],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Resp: ...

    @overload
    def call(
        self,
        model: str,
        request: JsonRequest,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Json: ...

    def call(
        self,
        model: ModelOrName,
        request: AnyRequest,
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Any:
        """Sends a request, waits as long as the task takes, and returns the response; see `Client.call`."""

        async def called() -> Any:
            return await self._client.call(cast("str", model), request, cast("type[Message]", response), **options)

        options = _options(timeout, idempotency_key, result_ttl)
        return self._loop.run(called)

    @overload
    def submit(
        self,
        model: type[Model[Req, Resp]],
        request: Req | JsonRequest,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncTaskHandle[Resp]: ...

    @overload
    def submit(
        self,
        model: str,
        request: AnyRequest,
        response: type[Resp],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncTaskHandle[Resp]: ...

    @overload
    def submit(
        self,
        model: str,
        request: JsonRequest,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncTaskHandle[Json]: ...

    def submit(
        self,
        model: ModelOrName,
        request: AnyRequest,
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncTaskHandle[Any]:
        """Submits a task and returns as soon as it is accepted; see `Client.submit`."""

        async def submitted() -> TaskHandle[Any]:
            return await self._client.submit(cast("str", model), request, cast("type[Message]", response), **options)

        options = _options(timeout, idempotency_key, result_ttl)
        return SyncTaskHandle(self._loop, self._loop.run(submitted))

    @overload
    def stream(
        self,
        model: type[Model[Req, Resp]],
        request: Req | JsonRequest,
        *,
        on_restart: Callable[[int], None] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncMessageStream[Resp]: ...

    @overload
    def stream(
        self,
        model: str,
        request: AnyRequest,
        response: type[Resp],
        *,
        on_restart: Callable[[int], None] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncMessageStream[Resp]: ...

    @overload
    def stream(
        self,
        model: str,
        request: JsonRequest,
        *,
        on_restart: Callable[[int], None] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncMessageStream[Json]: ...

    def stream(
        self,
        model: ModelOrName,
        request: AnyRequest,
        response: type[Message] | None = None,
        *,
        on_restart: Callable[[int], None] | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> SyncMessageStream[Any]:
        """Calls a streaming model; see `Client.stream`. `on_restart` is called in the thread of the event loop."""

        async def opened() -> MessageStream[Any]:
            return self._client.stream(
                cast("str", model), request, cast("type[Message]", response), on_restart=on_restart, **options
            )

        options = _options(timeout, idempotency_key, result_ttl)
        return SyncMessageStream(self._loop, self._loop.run(opened))

    @overload
    def batch(
        self,
        model: type[Model[Req, Resp]],
        requests: Iterable[Req | JsonRequest],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Iterator[SyncBatchAnswer[Resp]]: ...

    @overload
    def batch(
        self,
        model: str,
        requests: Iterable[AnyRequest],
        response: type[Resp],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Iterator[SyncBatchAnswer[Resp]]: ...

    @overload
    def batch(
        self,
        model: str,
        requests: Iterable[JsonRequest],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Iterator[SyncBatchAnswer[Json]]: ...

    def batch(
        self,
        model: ModelOrName,
        requests: Iterable[AnyRequest],
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Iterator[SyncBatchAnswer[Any]]:
        """Submits any number of requests and yields an answer for each, in order; see `Client.batch`."""
        options = _options(timeout, idempotency_key, result_ttl)
        answers = self._client.batch(cast("str", model), requests, cast("type[Message]", response), **options)
        for answer in SyncIterator[BatchAnswer[Any]](self._loop, answers):
            task = None if answer.task is None else SyncTaskHandle(self._loop, answer.task)
            yield SyncBatchAnswer(index=answer.index, task=task, error=answer.error)

    def models(self) -> Sequence[ModelEntry]:
        """The models that are alive, by name."""
        return self._loop.run(self._client.models)

    def contract(self, model: str) -> ModelContract:
        """The messages of a model as descriptors; see `Client.contract`."""

        async def asked() -> ModelContract:
            return await self._client.contract(model)

        return self._loop.run(asked)

    @overload
    def task(self, task: str, response: type[Resp]) -> SyncTaskHandle[Resp]: ...

    @overload
    def task(self, task: str) -> SyncTaskHandle[Json]: ...

    def task(self, task: str, response: type[Message] | None = None) -> SyncTaskHandle[Any]:
        """The handle of a task by its id; see `Client.task`."""
        handle: TaskHandle[Any] = self._client.task(task) if response is None else self._client.task(task, response)
        return SyncTaskHandle(self._loop, handle)

    @property
    def _client(self) -> Client:
        return self._loop.resource()


def _options(timeout: float | None, idempotency_key: str | None, result_ttl: float | None) -> dict[str, Any]:
    return {"timeout": timeout, "idempotency_key": idempotency_key, "result_ttl": result_ttl}
