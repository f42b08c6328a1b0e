"""The smallest model: it returns the text of the request."""

from __future__ import annotations

from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class ModelA(hub.Model[ModelARequest, ModelAResponse]):
    concurrency = 16

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=f"Processed message: {request.messages}\n")

    @override
    @classmethod
    def example(cls) -> ModelARequest:
        return ModelARequest(messages="hello")
