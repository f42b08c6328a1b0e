"""Batches of the client: parts of bounded size, an answer for each request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after

from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.client import BatchAnswer, Client, InvalidRequest, NotFound
from hub.client.batch import PART_LINES
from hub.testing.proxy import FaultProxy
from tests.client.models import Echo

TIMEOUT = 60.0


async def test_each_request_has_its_answer_in_order(client: Client) -> None:
    with fail_after(TIMEOUT):
        requests: list[ModelARequest | Mapping[str, Any]] = [
            ModelARequest(messages="a"),
            {"mesages": "b"},
            {"messages": "c"},
        ]
        answers = [answer async for answer in client.batch(Echo, requests)]
        assert [answer.index for answer in answers] == [0, 1, 2]
        assert isinstance(answers[1].error, InvalidRequest)
        assert answers[1].error.errors[0]["pointer"] == "/mesages"
        results = [await answer.task.result() for answer in answers if answer.task is not None]
        assert [answer async for answer in client.batch(Echo, [])] == []
        with pytest.raises(NotFound):
            await anext(client.batch("Nothing", [{}]))
    assert results == [ModelAResponse(reply="a"), ModelAResponse(reply="c")]


async def test_requests_are_taken_as_answers_are_read(client: Client) -> None:
    taken = 0

    async def requests() -> AsyncIterator[dict[str, str]]:
        nonlocal taken
        for number in range(2 * PART_LINES):
            taken += 1
            yield {"messages": f"n{number}"}

    with fail_after(TIMEOUT):
        batch = client.batch("Echo", requests())
        ids = set()
        for number in range(2 * PART_LINES):
            answer = await anext(batch)
            assert (answer.index, answer.error) == (number, None)
            assert answer.task is not None
            ids.add(answer.task.id)
            assert taken <= number + PART_LINES
        with pytest.raises(StopAsyncIteration):
            await anext(batch)
    assert len(ids) == 2 * PART_LINES


async def test_a_batch_survives_lost_connections_without_second_tasks(unsteady: Client, proxy: FaultProxy) -> None:
    answers: list[BatchAnswer[ModelAResponse]] = []

    async def run() -> None:
        requests: Iterator[ModelARequest] = (ModelARequest(messages=f"n{number}") for number in range(1500))
        answers.extend([answer async for answer in unsteady.batch(Echo, requests, idempotency_key="of-batch")])

    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            tg.start_soon(run)
            for _ in range(3):
                await anyio.sleep(0.1)
                proxy.cut()
        first = [answer.task.id for answer in answers if answer.task is not None]
        answers.clear()
        await run()
    assert len(set(first)) == 1500
    assert first == [answer.task.id for answer in answers if answer.task is not None]
