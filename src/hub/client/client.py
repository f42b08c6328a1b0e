"""`hub.Client`: calls models over the API of a gateway, on asyncio and on trio."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final, Self, TypeVar, final, overload
from urllib.parse import quote

import msgspec
from anyio import AsyncContextManagerMixin
from google.protobuf.message import Message
from httpx2 import AsyncClient
from typing_extensions import override

from hub.client.batch import BatchSubmission
from hub.client.errors import UnexpectedReply
from hub.client.messages import AnyRequest, Json, JsonRequest, ModelOrName, Target
from hub.client.snapshot import ModelContract, ModelEntry, ModelList
from hub.client.streams import MessageStream
from hub.client.submission import Submission, positive
from hub.client.task import TaskHandle
from hub.client.transport import Transport
from hub.http.client import open_client
from hub.model.model import Model
from hub.types import ModelName, model_name
from hub.urls import split_url

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)

LOCAL_GATEWAY: Final = "http://127.0.0.1:8000"
"""The gateway of `hub up`."""

RETRY_FOR: Final = 30.0
"""Seconds that failures in a row are retried, unless the client has another number."""


@final
class Client(AsyncContextManagerMixin):
    """A client of the models behind one gateway. Open it with `async with`, once, and share it between tasks.

    ```python
    async with hub.Client("http://127.0.0.1:8000") as client:
        reply = await client.call(ModelA, ModelARequest(messages="hello"))             # ModelAResponse
        reply = await client.call("ModelA", ModelARequest(messages="hello"), ModelAResponse)
        reply = await client.call("ModelA", {"messages": "hello"})                     # a dict
    ```

    A model is its class or its name. Requests that are messages travel as protobuf, dicts as JSON.

    Lost connections, 429 and 503 are retried with growing pauses and `Retry-After`, for `retry_for` seconds in a row and
    within the deadline. Submits have idempotency keys, so a request that is sent twice makes one task.

    Each method raises `GatewayError` (its subclasses say what kind) if the gateway refuses the request, `GatewayUnreachable`
    if it is not reached, and `UnexpectedReply` if the server is no gateway.

    Args:
        url: The gateway; by default `HUB_GATEWAY_URL`, or the one of `hub up` on this machine.
        api_key: Sent with each request; by default `HUB_API_KEY`.
        retry_for: Seconds that failures in a row are retried; 0 for no retries.
        connections: Connections at a time; further requests wait for a free one. Each call and each stream needs one.
        http: A client of your own, for proxies, certificates or tests; it is not closed.

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
        http: AsyncClient | None = None,
    ) -> None:
        url = os.environ.get("HUB_GATEWAY_URL") or LOCAL_GATEWAY if url is None else url
        split_url(url, ("http", "https"))
        self.url: Final = url.rstrip("/")
        self._api_key = os.environ.get("HUB_API_KEY", "") if api_key is None else api_key
        self._retry_for = retry_for
        self._connections = connections
        self._http = http
        self._transport: Transport | None = None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        own = (
            open_client(url=self.url, connections=self._connections) if self._http is None else nullcontext(self._http)
        )
        async with own as http:
            self._transport = Transport(http, self.url, api_key=self._api_key, retry_for=self._retry_for)
            try:
                yield self
            finally:
                self._transport = None

    @overload
    async def call(
        self,
        model: type[Model[Req, Resp]],
        request: Req | JsonRequest,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Resp: ...

    @overload
    async def call(
        self,
        model: str,
        request: AnyRequest,
        response: type[Resp],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Resp: ...

    @overload
    async def call(
        self,
        model: str,
        request: JsonRequest,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Json: ...

    async def call(
        self,
        model: ModelOrName,
        request: AnyRequest,
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> Any:
        """Sends a request, waits as long as the task takes, and returns the response.

        If the caller is cancelled, as by `anyio.move_on_after`, the task is cancelled too. The deadline of the cancel scopes
        around the call is the deadline of the task.

        Args:
            model: The class of the model, or its name.
            request: A request message, or ProtoJSON as a dict or as bytes.
            response: The class of the response; needed for a message to a name.
            timeout: Seconds until the deadline of the task, time in the queue included.
            idempotency_key: A key of your own: calls with the same one get the same task, also those of other processes. Then
                a cancellation of the caller leaves the task running.
            result_ttl: Seconds that the outcome is kept.

        Raises:
            TaskUnsuccessful: The model raised, the task was cancelled, or its deadline has passed.
            HubError: As the class says.
            TypeError: The request does not fit the model, which streams, or the class of the response is missing.
        """
        target = Target.of(model, request, response)
        if target.streaming:
            raise TypeError(f"{target.name} streams its response: use stream()")
        submission = Submission.of(
            self._open,
            target,
            request,
            timeout=timeout,
            idempotency_key=idempotency_key,
            result_ttl=result_ttl,
            waiting=True,
        )
        return await submission.call()

    @overload
    async def submit(
        self,
        model: type[Model[Req, Resp]],
        request: Req | JsonRequest,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> TaskHandle[Resp]: ...

    @overload
    async def submit(
        self,
        model: str,
        request: AnyRequest,
        response: type[Resp],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> TaskHandle[Resp]: ...

    @overload
    async def submit(
        self,
        model: str,
        request: JsonRequest,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> TaskHandle[Json]: ...

    async def submit(
        self,
        model: ModelOrName,
        request: AnyRequest,
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> TaskHandle[Any]:
        """Submits a task and returns as soon as it is accepted. Arguments are those of `call`; models may stream.

        The task goes on whatever becomes of the caller. A caller that is cancelled here does not know whether it was accepted:
        with an `idempotency_key` it can ask again.
        """
        target = Target.of(model, request, response)
        submission = Submission.of(
            self._open,
            target,
            request,
            timeout=timeout,
            idempotency_key=idempotency_key,
            result_ttl=result_ttl,
            waiting=False,
        )
        return TaskHandle(self._open, target, await submission.submit())

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
    ) -> MessageStream[Resp]: ...

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
    ) -> MessageStream[Resp]: ...

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
    ) -> MessageStream[Json]: ...

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
    ) -> MessageStream[Any]:
        """Calls a streaming model; the task is made when the first chunk is asked for.

        ```python
        async with client.stream(Writer, WriterRequest(words=20)) as words:
            async for word in words:
                print(word.text, end="", flush=True)
        ```

        Arguments are those of `call`. See `MessageStream` for what the end, a lost connection and a further attempt do.

        Args:
            model: The class of the model, or its name.
            request: A request message, or a dict.
            response: The class of a chunk.
            on_restart: Called with the number of an attempt that makes the chunks so far void.
            timeout: Seconds until the deadline of the task.
            idempotency_key: A key of your own.
            result_ttl: Seconds that the outcome is kept.
        """
        target = Target.of(model, request, response)
        if target.streaming is False:
            raise TypeError(f"{target.name} answers with one message: use call()")
        submission = Submission.of(
            self._open,
            target,
            request,
            timeout=timeout,
            idempotency_key=idempotency_key,
            result_ttl=result_ttl,
            waiting=True,
        )
        return MessageStream.of_call(submission, on_restart)

    @overload
    def batch(
        self,
        model: type[Model[Req, Resp]],
        requests: Iterable[Req | JsonRequest] | AsyncIterable[Req | JsonRequest],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> BatchSubmission[Resp]: ...

    @overload
    def batch(
        self,
        model: str,
        requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest],
        response: type[Resp],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> BatchSubmission[Resp]: ...

    @overload
    def batch(
        self,
        model: str,
        requests: Iterable[JsonRequest] | AsyncIterable[JsonRequest],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> BatchSubmission[Json]: ...

    def batch(
        self,
        model: ModelOrName,
        requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest],
        response: type[Message] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        result_ttl: float | None = None,
    ) -> BatchSubmission[Any]:
        """Submits any number of requests; yields a `BatchAnswer` for each, in order.

        ```python
        async for answer in client.batch(ModelA, requests):
            if answer.task is None:
                print(answer.index, answer.error)
        ```

        Args:
            model: The class of the model, or its name.
            requests: Messages, dicts, or lines of JSON as bytes, none of them blank. At most 1,000 of them, and 4 MiB, are in memory.
            response: The class of the responses.
            timeout: Seconds until the deadline of each task.
            idempotency_key: Prefix of the keys of the tasks: the same requests under the same key make no second tasks.
            result_ttl: Seconds that each outcome is kept.
        """
        headers: dict[str, str] = {}
        if timeout is not None:
            headers["Hub-Timeout"] = f"{positive('timeout', timeout):.12g}"
        if result_ttl is not None:
            headers["Hub-Result-TTL"] = f"{positive('result_ttl', result_ttl):.12g}"
        target = Target.of(model, None, response)
        return BatchSubmission(self._open, target, requests, headers=headers, key=idempotency_key)

    async def models(self) -> Sequence[ModelEntry]:
        """The models that are alive, by name."""
        response = await self._open.send("GET", "/v1/models")
        try:
            return msgspec.json.decode(response.content, type=ModelList).models
        except msgspec.DecodeError as error:
            raise UnexpectedReply("list of models", f"it cannot be read: {error}") from error

    async def contract(self, model: str) -> ModelContract:
        """The messages of a model as descriptors, with comments and limits; see `hub client generate`.

        Args:
            model: The name of a model that is alive.

        Raises:
            NotFound: The registry has never had it.
            Unavailable: It is not alive.
        """
        name = model_name(model)
        response = await self._open.send("GET", f"/v1/models/{quote(name, safe='')}/contract")
        try:
            return msgspec.json.decode(response.content, type=ModelContract)
        except msgspec.DecodeError as error:
            raise UnexpectedReply(f"contract of {name}", f"it cannot be read: {error}") from error

    @overload
    def task(self, task: str, response: type[Resp]) -> TaskHandle[Resp]: ...

    @overload
    def task(self, task: str) -> TaskHandle[Json]: ...

    def task(self, task: str, response: type[Message] | None = None) -> TaskHandle[Any]:
        """The handle of a task by its id. Nothing is sent before one of its methods is called.

        Args:
            task: The id.
            response: The class of its response; without it `result()` returns JSON.
        """
        return TaskHandle(self._open, Target(name=ModelName(""), response=response), task)

    @property
    def _open(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("the client is not open: use it inside of `async with hub.Client(...) as client`")
        return self._transport
