"""What is checked of a call of another model before it becomes a task."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.message_factory import GetMessageClass
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.contract.errors import BrokenRules
from hub.model.calls import call_request
from hub.model.errors import CallsUnavailable
from tests.contract.test_rules_conformance import descriptor


class Streams(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
        yield ModelAResponse(reply=request.messages)


def test_a_model_that_streams_cannot_be_called() -> None:
    with pytest.raises(CallsUnavailable, match="Streams streams its response; submit its task as a client"):
        call_request(Streams, ModelARequest(), None)


def test_a_request_that_breaks_its_rules_is_refused_as_at_the_gateway() -> None:
    message = GetMessageClass(descriptor("Int32LT"))
    request, response = call_request("Other", message(val=-1), ModelAResponse)
    assert (request.model, response) == ("Other", ModelAResponse)
    with pytest.raises(BrokenRules, match=r"/val: must be less than 0 \(rule int32\.lt\)"):
        call_request("Other", message(val=0), ModelAResponse)
