"""Three names that look like hub's and are not."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Misspelt(hub.Model[ModelARequest, ModelAResponse]):
    concurency: ClassVar[int] = 4
    timeout: ClassVar[float] = 3.0

    def set_up(self) -> None: ...

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply="done")
