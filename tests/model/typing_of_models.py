"""Not run: read by mypy --strict and by pyright in strict mode. What must pass passes without a cast."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import assert_type

from typing_extensions import override

import hub
from examples.digits.v1.digits_pb2 import DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Awaited(hub.Model[ModelARequest, ModelAResponse]):
    name = "awaited"
    concurrency = 4

    @override
    async def setup(self) -> None:
        self.greeting = "hello"

    @override
    async def teardown(self) -> None: ...

    @override
    async def health(self) -> None: ...

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        assert_type(request.messages, str)
        assert_type(hub.current_task().attempt, int)
        return ModelAResponse(reply=self.greeting)


class Plain(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def setup(self) -> None: ...

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class InBatches(hub.Model[ModelARequest, ModelAResponse]):
    max_batch_size = 64
    max_batch_wait = 0.005

    @override
    async def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse | Exception]:
        assert_type(requests[0].messages, str)
        assert_type(hub.current_tasks()[0].attempt, int)
        return [
            ModelAResponse(reply=request.messages) if request.messages else ValueError("empty") for request in requests
        ]


class InPlainBatches(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> list[ModelAResponse]:
        return [ModelAResponse(reply=request.messages) for request in requests]


assert_type(InPlainBatches().process_batch([ModelARequest()]), list[ModelAResponse])


class WrongResponses(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> list[DigitsResponse]:  # type: ignore[override]
        return []


class Stream(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        for word in request.messages.split():
            yield ModelAResponse(reply=word)


class StreamAsGenerator(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> AsyncGenerator[ModelAResponse]:
        yield ModelAResponse(reply=request.messages)


class PlainStream(hub.Model[ModelARequest, ModelAResponse]):
    run_in_process = True

    @override
    def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
        yield ModelAResponse(reply=request.messages)


class WrongChunk(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[DigitsResponse]:  # type: ignore[override]
        yield DigitsResponse()


class WrongResponse(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> DigitsResponse:  # type: ignore[override]
        return DigitsResponse()


class NoMessage(hub.Model[ModelARequest, str]):  # type: ignore[type-var]
    @override
    async def process_request(self, request: ModelARequest) -> str:
        return ""


class Caller(hub.Model[ModelARequest, ModelAResponse]):
    """The types of calls follow from the class that is called, or from the class of the response."""

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        task = hub.current_task()
        assert_type(await task.call(Awaited, request), ModelAResponse)
        assert_type(await task.call("digits", request, DigitsResponse), DigitsResponse)
        assert_type(task.call_sync(Plain, request), ModelAResponse)
        child = await task.submit(Awaited, request)
        assert_type(child, hub.ChildTask[ModelAResponse])
        assert_type(await child.result(), ModelAResponse)
        return await task.call(Awaited, DigitsResponse())  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
