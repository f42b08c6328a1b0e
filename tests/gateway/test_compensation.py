"""Changes of records that wait until the store can be reached: bounded, and written in slices."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.stores import open_store
from hub.submission.compensation import CompensationQueue
from hub.task import Task
from hub.types import new_task_id
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import CONTRACT_A, MODEL_A


def tasks(count: int) -> list[Task]:
    return [
        Task(
            id=new_task_id(), model=MODEL_A, body=b"body", fingerprint=CONTRACT_A.fingerprint, created_at=float(number)
        )
        for number in range(count)
    ]


async def test_changes_that_wait_for_the_store_are_bounded_and_the_oldest_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.submission.compensation.MAX_PENDING", 10)
    async with open_store("memory://") as memory:
        store = FaultyStore(memory)
        queue = CompensationQueue(store)
        withdrawn: list[float] = []

        async def withdraw(given: Sequence[Task]) -> None:
            await checkpoint()
            withdrawn.extend(task.created_at for task in given)

        monkeypatch.setattr(store, "withdraw", withdraw)
        for task in tasks(25):
            queue.withdraw([task])
            queue.confirm([task])
        assert (queue.statistics().withdrawals, queue.statistics().confirmations) == (10, 10)
        with anyio.fail_after(10):
            async with queue:
                while queue.statistics().withdrawals:
                    await checkpoint()
        assert withdrawn == [float(number) for number in range(15, 25)]


async def test_changes_are_written_in_slices_and_those_of_a_failed_call_are_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.submission.compensation.BATCH_SIZE", 4)
    async with open_store("memory://") as memory:
        store = FaultyStore(memory)
        calls: list[list[float]] = []

        async def confirm(given: Sequence[Task]) -> None:
            await checkpoint()
            calls.append([task.created_at for task in given])
            if len(calls) == 2:
                raise LOST

        monkeypatch.setattr(store, "confirm", confirm)
        queue = CompensationQueue(store)
        queue.confirm(tasks(10))
        with anyio.fail_after(10):
            async with queue:
                while queue.statistics().confirmations:
                    await checkpoint()
        assert [len(call) for call in calls] == [4, 4, 4, 2]
        assert calls[1] == calls[2]
