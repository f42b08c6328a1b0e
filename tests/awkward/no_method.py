"""A model without `process_request`."""

from __future__ import annotations

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class NoMethod(hub.Model[ModelARequest, ModelAResponse]):
    def proces_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)
