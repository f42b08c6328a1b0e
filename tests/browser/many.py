"""More models than fit on one page."""

from __future__ import annotations

from types import new_class

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

NAMES = [f"Many{number:02}" for number in range(55)]


async def process_request(_: object, request: ModelARequest) -> ModelAResponse:
    return ModelAResponse(reply=f"processed {request.messages}")


for name in NAMES:
    globals()[name] = new_class(
        name,
        (hub.Model[ModelARequest, ModelAResponse],),
        exec_body=lambda members: members.update(process_request=process_request, __module__=__name__),
    )
