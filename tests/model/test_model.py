"""The attributes of model classes, and refusals of invalid classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.model.errors import InvalidModel, NotInTask
from hub.model.model import task_places

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)
Other = TypeVar("Other", bound=Message)


class Plain(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class Base(hub.Model[Req, Resp], Generic[Resp, Req]):
    """Leaves its messages open, in another order than Model has them."""


class HalfOpen(Base[ModelAResponse, Other]):
    """Closes one of them."""


class Closed(HalfOpen[ModelARequest]):
    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


def formats(model: hub.Model[Any, Any]) -> tuple[str, str]:
    return model.get_request_format().full_name, model.get_response_format().full_name


BOTH = ("examples.model_a.v1.ModelARequest", "examples.model_a.v1.ModelAResponse")


def test_formats_come_from_the_type_arguments() -> None:
    assert formats(Plain()) == BOTH


def test_formats_come_through_any_number_of_generic_classes() -> None:
    assert formats(Closed()) == BOTH


def test_a_subclass_of_a_model_keeps_its_formats_and_has_a_name_of_its_own() -> None:
    class Child(Plain):
        pass

    assert formats(Child()) == BOTH
    assert Child.name == "Child"
    assert Plain.name == "Plain"


def test_formats_may_be_overridden_by_methods() -> None:
    class Untyped(hub.Model):  # type: ignore[type-arg]  # without type arguments
        def get_request_format(self) -> Descriptor:  # type: ignore[explicit-override]
            return ModelARequest.DESCRIPTOR

        def get_response_format(self) -> Descriptor:  # type: ignore[explicit-override]
            return ModelAResponse.DESCRIPTOR

        async def process_request(self, request: Any) -> ModelAResponse:  # type: ignore[explicit-override]
            parsed = ModelARequest.FromString(request)
            return ModelAResponse(reply=parsed.messages)

    assert formats(Untyped()) == BOTH


def test_the_name_of_a_model_is_that_of_its_class_or_its_own() -> None:
    class Renamed(Plain):
        name = "digits.v2"

    assert Plain.name == "Plain"
    assert Renamed.name == "digits.v2"


def test_a_class_without_messages_is_refused_with_the_repair() -> None:
    with pytest.raises(InvalidModel, match=r"Write `class Nothing\(hub.Model\[SomeRequest, SomeResponse\]\)`"):

        class Nothing(hub.Model):  # type: ignore[type-arg]
            async def process_request(self, request: Any) -> Any:  # type: ignore[explicit-override]
                return request


def test_a_type_argument_that_is_not_a_message_is_refused() -> None:
    with pytest.raises(InvalidModel, match="its response is int, which is not a generated message class"):

        class Wrong(hub.Model[ModelARequest, int]):  # type: ignore[type-var]
            async def process_request(self, request: ModelARequest) -> int:  # type: ignore[explicit-override]
                return len(request.messages)


def test_unbound_type_arguments_are_refused() -> None:
    with pytest.raises(InvalidModel, match="its request is ~Other"):

        class StillOpen(HalfOpen[Other]):
            @override
            def process_request(self, request: Other) -> ModelAResponse:
                return ModelAResponse()


def test_a_name_that_cannot_be_a_queue_is_refused() -> None:
    with pytest.raises(InvalidModel, match="'my model' is not a model name"):

        class Spaced(Plain):
            name = "my model"


def test_a_concurrency_below_one_is_refused() -> None:
    with pytest.raises(InvalidModel, match="its concurrency is 0"):

        class Idle(Plain):
            concurrency = 0


def test_an_invalid_model_ends_a_process_as_a_configuration_error() -> None:
    assert InvalidModel.exit_code == 2


def test_the_example_of_a_model_has_a_json_form() -> None:
    class Shown(Plain):
        @override
        @classmethod
        def example(cls) -> ModelARequest:
            return ModelARequest(messages="hi")

    assert Plain.example_json() == '{"messages": ""}'
    assert Shown.example_json() == '{"messages": "hi"}'


def test_there_is_no_current_task_outside_of_a_run() -> None:
    with pytest.raises(NotInTask, match="call it inside process_request"):
        hub.current_task()


class Batches(hub.Model[ModelARequest, ModelAResponse]):
    @override
    def process_batch(self, requests: Sequence[ModelARequest]) -> list[ModelAResponse]:
        return [ModelAResponse(reply=request.messages) for request in requests]


def test_a_model_may_process_batches_instead_of_requests() -> None:
    assert formats(Batches()) == BOTH
    assert task_places(Batches) == (Batches.concurrency + 1) * Batches.max_batch_size
    assert task_places(Plain) == Plain.concurrency


@pytest.mark.parametrize(
    ("base", "own", "complaint"),
    [
        (Plain, {"process_batch": Batches.process_batch}, "both process_request and process_batch. Remove one of them"),
        (Batches, {"process_request": Plain.process_request}, "both process_request and process_batch"),
        (Plain, {"max_batch_size": 8}, "it has max_batch_size, but no process_batch. Write `def process_batch"),
        (Plain, {"max_batch_wait": 1.0}, "it has max_batch_wait, but no process_batch"),
        (Batches, {"max_batch_size": 0}, "its max_batch_size is 0"),
        (Batches, {"max_batch_size": 2.5}, "its max_batch_size is 2.5"),
        (Batches, {"max_batch_size": True}, "its max_batch_size is True"),
        (Batches, {"max_batch_size": float("inf")}, "its max_batch_size is inf"),
        (Batches, {"max_batch_wait": -1}, "its max_batch_wait is -1"),
        (Batches, {"max_batch_wait": float("nan")}, "its max_batch_wait is nan"),
        (Batches, {"max_batch_wait": "1"}, "its max_batch_wait is '1'"),
        (
            Batches,
            {"max_batch_size": 40_000},
            "would hold 80000 tasks at once, and 65535 are allowed. Lower `max_batch",
        ),
    ],
)
def test_batches_that_cannot_work_are_refused_where_the_class_is_defined(
    base: type[hub.Model[Any, Any]], own: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidModel, match=re.escape(complaint)):
        type("Wrong", (base,), own)


def plain_generator(_: object, requests: Sequence[ModelARequest]) -> Any:
    yield from requests


async def async_generator(_: object, requests: Sequence[ModelARequest]) -> Any:
    for request in requests:
        yield request


@pytest.mark.parametrize("method", [plain_generator, async_generator])
def test_a_batch_is_no_generator(method: object) -> None:
    with pytest.raises(InvalidModel, match=r"process_batch is a generator\. Return a list with one"):
        type("Wrong", (Batches,), {"process_batch": method})


def test_a_batch_in_a_process_is_a_plain_method() -> None:
    with pytest.raises(InvalidModel, match="it has run_in_process, but its process_batch is async"):

        class Wrong(hub.Model[ModelARequest, ModelAResponse]):
            run_in_process = True

            @override
            async def process_batch(self, requests: Sequence[ModelARequest]) -> Sequence[ModelAResponse]:
                return []


def test_a_base_of_models_without_a_method_refuses_requests() -> None:
    with pytest.raises(InvalidModel, match="it has no process_request"):
        HalfOpen[ModelARequest]().process_request(ModelARequest())
    with pytest.raises(InvalidModel, match="it has no process_request"):
        HalfOpen[ModelARequest]().process_batch([])


def test_there_are_no_current_tasks_outside_of_a_run() -> None:
    with pytest.raises(NotInTask):
        hub.current_tasks()
