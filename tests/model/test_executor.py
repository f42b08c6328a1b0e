"""From request bytes to response bytes."""

from __future__ import annotations

from os import getpid
from threading import Event, get_ident
from typing import Any

import anyio
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from typing_extensions import override

import hub
from examples.digits.v1.digits_pb2 import DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import Undecodable
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import InvalidModel, WrongResponse
from hub.model.execution.executor import Executor
from hub.model.execution.lifespan import lifespan
from hub.types import InstanceId, ModelName, TaskId
from tests.model.fakes import TIMEOUT
from tests.model.process_models import Elsewhere, Obedient

BODY = ModelARequest(messages="hello").SerializeToString()


class Awaited(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        assert isinstance(request, ModelARequest)
        return ModelAResponse(reply=f"{request.messages} from {get_ident()}")


class Threaded(hub.Model[ModelARequest, ModelAResponse]):
    concurrency = 2

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=f"{hub.current_task().id} from {get_ident()}")


async def reply(model: hub.Model[Any, Any], body: bytes = BODY) -> str:
    return ModelAResponse.FromString(await Executor(model).execute(body)).reply


async def test_an_async_model_runs_in_the_event_loop() -> None:
    with anyio.fail_after(TIMEOUT):
        assert await reply(Awaited()) == f"hello from {get_ident()}"


async def test_a_plain_model_runs_in_a_thread_and_still_knows_its_task() -> None:
    current = CurrentTask(
        id=TaskId("t"),
        attempt=1,
        deadline=None,
        model=ModelName("Threaded"),
        instance=InstanceId("i"),
        control=TaskControl(lambda _fraction, _message: None),
    )
    with anyio.fail_after(TIMEOUT), processing(current):
        text = await reply(Threaded())
    assert text.startswith("t from ")
    assert text != f"t from {get_ident()}"


async def test_a_cancelled_caller_does_not_wait_for_the_thread() -> None:
    release, begun = Event(), anyio.Event()

    class Stuck(hub.Model[ModelARequest, ModelAResponse]):
        @override
        def process_request(self, request: ModelARequest) -> ModelAResponse:
            anyio.from_thread.run_sync(begun.set)
            release.wait(TIMEOUT)
            return ModelAResponse()

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(Executor(Stuck()).execute, BODY)
            await begun.wait()
            tg.cancel_scope.cancel()
        release.set()


async def test_a_model_without_types_gets_bytes() -> None:
    class Untyped(hub.Model):  # type: ignore[type-arg]
        def get_request_format(self) -> Descriptor:  # type: ignore[explicit-override]
            return ModelARequest.DESCRIPTOR

        def get_response_format(self) -> Descriptor:  # type: ignore[explicit-override]
            return ModelAResponse.DESCRIPTOR

        async def process_request(self, body: Any) -> ModelAResponse:  # type: ignore[explicit-override]
            request = ModelARequest()
            request.ParseFromString(body)
            return ModelAResponse(reply=f"Processed message: {request.messages}\n")

    with anyio.fail_after(TIMEOUT):
        assert await reply(Untyped()) == "Processed message: hello\n"


async def test_a_model_over_any_message_gets_the_class_of_its_format() -> None:
    class Dynamic(hub.Model[Message, Message]):
        @override
        def get_request_format(self) -> Descriptor:
            return ModelARequest.DESCRIPTOR

        @override
        def get_response_format(self) -> Descriptor:
            return ModelAResponse.DESCRIPTOR

        @override
        async def process_request(self, request: Message) -> Message:
            assert isinstance(request, ModelARequest)
            return ModelAResponse(reply=request.messages)

    with anyio.fail_after(TIMEOUT):
        assert await reply(Dynamic()) == "hello"


async def test_bytes_that_are_not_a_request_are_refused_before_the_model_is_called() -> None:
    with anyio.fail_after(TIMEOUT), pytest.raises(Undecodable, match=r"examples\.model_a\.v1\.ModelARequest"):
        await Executor(Awaited()).execute(b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("returned", "shown"),
    [(None, "NoneType"), ("text", "str"), (DigitsResponse(), "examples.digits.v1.DigitsResponse")],
)
async def test_a_wrong_response_is_named_with_the_repair(returned: object, shown: str) -> None:
    class Wrong(hub.Model[ModelARequest, ModelAResponse]):
        @override
        async def process_request(self, request: ModelARequest) -> Any:
            return returned

    with anyio.fail_after(TIMEOUT), pytest.raises(WrongResponse, match=shown) as caught:
        await Executor(Wrong()).execute(BODY)
    assert "return a examples.model_a.v1.ModelAResponse" in str(caught.value)


async def test_a_model_in_a_process_runs_there_and_nothing_of_it_runs_here() -> None:
    body = ModelARequest(messages="echo hello").SerializeToString()
    with anyio.fail_after(TIMEOUT), collapse_exception_group():
        model = Elsewhere()
        async with lifespan(model), Executor(model) as processor:
            pid, _, text = ModelAResponse.FromString(await processor.execute(body)).reply.partition(" ")
    assert text == "hello"
    assert int(pid) != getpid()


def test_a_class_that_no_other_process_can_import_is_refused_at_once() -> None:
    class Local(Obedient):
        pass

    with pytest.raises(InvalidModel, match="Define the class at the top level of a module of its own"):
        Executor(Local())
