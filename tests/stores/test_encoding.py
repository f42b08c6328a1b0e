"""What is stored reads back as the same value."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hub.task import Failure, Outcome, Task, without_big_body
from hub.types import Fingerprint, ModelName, TaskState, new_task_id

times = st.floats(min_value=0, max_value=4e9, allow_nan=False).map(lambda seconds: round(seconds, 6))


@given(
    created_at=st.floats(min_value=1e9, max_value=4e9),
    result_ttl=st.floats(min_value=0, max_value=3e9).map(lambda seconds: round(seconds, 6)),
    deadline=st.none() | times,
)
def test_a_task_reads_back(created_at: float, result_ttl: float, deadline: float | None) -> None:
    one = Task(
        id=new_task_id(),
        model=ModelName("ModelA"),
        body=b"\x00",
        fingerprint=Fingerprint("f"),
        created_at=created_at,
        result_ttl=result_ttl,
        deadline=deadline,
        reply_channel="hub:wake:1",
        traceparent="00-1-2-01",
        tracestate="a=b",
        idempotency_key="key",
    )
    assert Task.decode(one.encode()) == one


@given(started_at=st.none() | times, finished_at=st.floats(min_value=1e9, max_value=4e9))
def test_an_outcome_reads_back(started_at: float | None, finished_at: float) -> None:
    one = Outcome(
        task_id=new_task_id(),
        state=TaskState.SUCCEEDED,
        body=b"",
        attempt=3,
        started_at=started_at,
        finished_at=finished_at,
    )
    assert Outcome.decode(one.encode()) == one


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 2_097_151, 2_097_152])
def test_a_body_of_any_size_reads_back(size: int) -> None:
    body = b"b" * size
    task = Task(id=new_task_id(), model=ModelName("ModelA"), body=body, fingerprint=Fingerprint("f"), created_at=1e9)
    assert Task.decode(task.encode()) == task
    assert without_big_body(task).body == (b"" if size >= 65_536 else body)
    outcome = Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=body, attempt=1, finished_at=1e9)
    assert Outcome.decode(outcome.encode()) == outcome
    failed = Outcome(
        task_id=task.id,
        state=TaskState.FAILED,
        body=None,
        failure=Failure(code="c", type="t", message="m", traceback=""),
        attempt=1,
        finished_at=1e9,
    )
    assert Outcome.decode(failed.encode()) == failed
