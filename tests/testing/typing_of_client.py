"""Not run: read by mypy --strict and by pyright in strict mode. What must pass passes without a cast."""

from __future__ import annotations

from typing import assert_type

import hub.testing
from examples.digits.v1.digits_pb2 import DigitsRequest
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.types import TaskState
from tests.testing.models import Echo, Words


async def types_of_responses_follow_from_the_class() -> None:
    async with hub.testing.run(Echo, Words) as client:
        assert_type(client, hub.testing.LocalClient)
        assert_type(await client.call(Echo, ModelARequest()), ModelAResponse)
        task = await client.submit(Echo, ModelARequest())
        assert_type(task, hub.testing.LocalTask[ModelAResponse])
        assert_type(await task.result(), ModelAResponse)
        assert_type(task.state, TaskState)
        async with client.stream(Words, ModelARequest()) as chunks:
            async for chunk in chunks:
                assert_type(chunk, ModelAResponse)
        await client.call(Echo, DigitsRequest())  # type: ignore[misc] # pyright: ignore[reportArgumentType]
