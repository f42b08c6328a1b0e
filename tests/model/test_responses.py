"""A response that cannot be parsed is the failure of its task, in every form of model."""

from __future__ import annotations

import pickle
from typing import Any

import anyio
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.exceptions import collapse_exception_group
from hub.contract.descriptors.pool import build_pool
from hub.model.errors import UnreadableResponse
from hub.model.execution.executor import Executor
from hub.model.execution.lifespan import lifespan
from hub.model.worker.worker import Worker
from hub.types import TaskState
from tests.model.fakes import CONTRACT, INSTANCE, TIMEOUT, BreakableStore, WatchedBroker, ended, submit, task
from tests.model.process_models import Nesting, nested

DEEPEST = 33
"""Objects of a `Struct` within each other that protobuf reads: each is three messages, and 100 are allowed."""


class Awaited(hub.Model[ModelARequest, Struct]):
    name = "Echo"

    @override
    async def process_request(self, request: ModelARequest) -> Struct:
        return nested(int(request.messages))


class Threaded(hub.Model[ModelARequest, Struct]):
    name = "Echo"

    @override
    def process_request(self, request: ModelARequest) -> Struct:
        return nested(int(request.messages))


FORMS = pytest.mark.parametrize("model", [Awaited, Threaded, Nesting])


async def response(model: type[hub.Model[ModelARequest, Struct]], depth: int) -> bytes:
    body = ModelARequest(messages=str(depth)).SerializeToString()
    with anyio.fail_after(TIMEOUT), collapse_exception_group():
        made = model()
        async with lifespan(made), Executor(made) as processor:
            return await processor.execute(body)


@FORMS
async def test_a_response_as_deep_as_protobuf_reads_passes(model: type[hub.Model[ModelARequest, Struct]]) -> None:
    assert Struct.FromString(await response(model, DEEPEST)) == nested(DEEPEST)


@FORMS
@pytest.mark.parametrize("depth", [DEEPEST + 1, 150, 2000])
async def test_a_deeper_response_is_an_error_that_names_limit_and_repair(
    model: type[hub.Model[ModelARequest, Struct]], depth: int
) -> None:
    with pytest.raises(UnreadableResponse) as caught:
        await response(model, depth)
    text = str(caught.value)
    assert caught.value.code == "unreadable_response"
    assert "more than 100 deep" in text
    assert "return a flatter message" in text
    assert len(text) < 600


@pytest.mark.parametrize("model", [Awaited, Threaded])
async def test_the_task_of_an_unreadable_response_fails_with_its_own_code(
    model: type[hub.Model[ModelARequest, Struct]],
) -> None:
    with anyio.fail_after(TIMEOUT):
        store, each = BreakableStore(), task("150")
        broker = WatchedBroker(store)
        await submit(broker, store, each)
        async with Worker(model(), contract=CONTRACT, instance=INSTANCE, broker=broker, store=store):
            outcome = (await ended(store, each)).outcome
    assert outcome is not None
    assert (outcome.state, outcome.body) == (TaskState.FAILED, None)
    assert outcome.failure is not None
    assert outcome.failure.code == "unreadable_response"


def of_another_pool() -> Message:
    """A message of the response's own name, whose string is bytes there, with a value that is not UTF-8."""
    file = FileDescriptorProto(name="other.proto", package="examples.model_a.v1", syntax="proto3")
    file.message_type.add(name="ModelAResponse").field.add(
        name="reply", number=1, type=FieldDescriptorProto.TYPE_BYTES, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    pool = build_pool(FileDescriptorSet(file=[file]))
    kind: Any = GetMessageClass(pool.FindMessageTypeByName("examples.model_a.v1.ModelAResponse"))
    message: Message = kind(reply=b"\xff\xfe")
    return message


async def test_a_message_with_the_name_of_the_response_that_cannot_be_parsed_is_named() -> None:
    class Namesake(hub.Model[ModelARequest, ModelAResponse]):
        @override
        async def process_request(self, request: ModelARequest) -> Any:
            return of_another_pool()

    with anyio.fail_after(TIMEOUT), pytest.raises(UnreadableResponse, match="build it from the generated class"):
        await Executor(Namesake()).execute(b"")


def test_the_error_can_be_pickled() -> None:
    error = UnreadableResponse("M", "a.Response", "Exceeded upb_DecodeOptions_MaxDepth")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
