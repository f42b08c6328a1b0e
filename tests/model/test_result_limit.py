"""A response that is too large for the store fails its task, and says which setting is in the way."""

from __future__ import annotations

import anyio
import pytest

from hub.errors import ConfigurationError
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.settings.model import ModelSettings
from hub.types import TaskState
from tests.model.fakes import CONTRACT, INSTANCE, TIMEOUT, BreakableStore, Echo, WatchedBroker, ended, submit, task


@pytest.mark.parametrize(
    ("limit", "state"), [(50, TaskState.FAILED), (1000, TaskState.SUCCEEDED), (0, TaskState.SUCCEEDED)]
)
async def test_a_response_above_the_limit_fails_its_task_with_a_code_of_its_own(limit: int, state: TaskState) -> None:
    with anyio.fail_after(TIMEOUT):
        store, each = BreakableStore(), task("x" * 200)
        broker = WatchedBroker(store)
        await submit(broker, store, each)
        options = WorkerOptions(result_limit=limit)
        async with Worker(Echo(), contract=CONTRACT, instance=INSTANCE, broker=broker, store=store, options=options):
            outcome = (await ended(store, each)).outcome
    assert outcome is not None
    assert outcome.state is state
    if state is TaskState.FAILED:
        assert outcome.failure is not None
        assert outcome.failure.code == "result_too_large"
        assert "HUB_RESULT_LIMIT" in outcome.failure.message
        assert "50 are allowed" in outcome.failure.message


def test_the_limit_is_a_setting() -> None:
    assert ModelSettings().result_limit == 16 * 1024 * 1024
    with pytest.raises(ConfigurationError, match="result_limit is -1; use 0"):
        ModelSettings(result_limit=-1)
    assert ModelSettings().stream_limit == 64 * 1024 * 1024
    with pytest.raises(ConfigurationError, match="stream_limit is -1; use 0"):
        ModelSettings(stream_limit=-1)
