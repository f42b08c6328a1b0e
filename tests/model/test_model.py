"""What a model class says of itself, and how it is refused."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.model.errors import InvalidModel, NotInTask

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
    class Untyped(hub.Model):  # type: ignore[type-arg]  # the style of those who do not type
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
