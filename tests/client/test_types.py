"""The responses that type checkers infer: this file is checked with the others, and its functions are not called."""

from __future__ import annotations

from typing import Any, assert_type

import hub
from examples.model_a import ModelA
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from examples.writer import Writer
from examples.writer.v1.writer_pb2 import WriterRequest, WriterResponse
from hub.client import MessageStream, SyncTaskHandle, TaskHandle


async def inferred(client: hub.Client, request: ModelARequest) -> None:
    assert_type(await client.call(ModelA, request), ModelAResponse)
    assert_type(await client.call(ModelA, {"messages": "a"}), ModelAResponse)
    assert_type(await client.call("ModelA", request, ModelAResponse), ModelAResponse)
    assert_type(await client.call("ModelA", {"messages": "a"}), Any)
    handle = await client.submit(ModelA, request)
    assert_type(handle, TaskHandle[ModelAResponse])
    assert_type(await handle.result(), ModelAResponse)
    assert_type(client.stream(Writer, WriterRequest()), MessageStream[WriterResponse])
    async for word in client.stream(Writer, WriterRequest()):
        assert_type(word, WriterResponse)
    async for answer in client.batch(ModelA, [request]):
        assert_type(answer.task, TaskHandle[ModelAResponse] | None)
    assert_type(client.task("id", ModelAResponse), TaskHandle[ModelAResponse])


def inferred_without_await(client: hub.SyncClient, request: ModelARequest) -> None:
    assert_type(client.call(ModelA, request), ModelAResponse)
    assert_type(client.call("ModelA", request, ModelAResponse), ModelAResponse)
    assert_type(client.submit(ModelA, request), SyncTaskHandle[ModelAResponse])
    for word in client.stream(Writer, WriterRequest()):
        assert_type(word, WriterResponse)
    for answer in client.batch(ModelA, [request]):
        assert_type(answer.task, SyncTaskHandle[ModelAResponse] | None)


def test_the_client_is_loaded_at_its_first_use() -> None:
    assert hub.Client.__module__ == "hub.client.client"
    assert hub.SyncClient.__module__ == "hub.client.sync"
    assert {"Client", "SyncClient", "Model"} <= set(dir(hub))
    assert not hasattr(hub, "Clients")
