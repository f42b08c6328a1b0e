"""What is read from the broker and the store: anything at all, and well-typed values that make no sense."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from hub.errors import Undecodable
from hub.gateway.schemas import TaskBody
from hub.model.worker.outcomes import failure
from hub.model.worker.run import TaskRun
from hub.stores.redis import replies
from hub.stores.redis.commands import identity
from hub.task import LONGEST_TTL, MAX_TIME, MIN_TIME, Outcome, Task
from hub.types import InstanceId, TaskId, new_task_id
from hub.v1 import task_pb2

ID = TaskId("01890000-0000-7000-8000-000000000001")
INT64 = st.integers(-(2**63), 2**63 - 1)
NANOS = st.integers(-(2**31), 2**31 - 1)
EXTREMES = st.sampled_from([-(2**63), -(2**63) + 1, -(10**18), -1, 0, 1, 10**12, 10**13, 2**63 - 1])


def message(**times: tuple[int, int]) -> task_pb2.Task:
    made = task_pb2.Task(id=ID, model="ModelA", body=b"x", fingerprint="f" * 64)
    made.created_at.seconds = 1_700_000_000
    for name, (seconds, nanos) in times.items():
        getattr(made, name).seconds = seconds
        getattr(made, name).nanos = nanos
    return made


def usable(task: Task) -> None:
    """Whatever was decoded goes back onto a queue and into the store."""
    assert Task.decode(task.encode()) == task
    assert all(word is not None for word in identity(task))
    for moment in (task.created_at, task.deadline):
        if moment is not None:
            datetime.fromtimestamp(moment, UTC)
    assert 0 <= task.result_ttl <= LONGEST_TTL


@pytest.mark.parametrize("name", ["created_at", "deadline", "result_ttl"])
@given(seconds=INT64 | EXTREMES, nanos=NANOS | st.sampled_from([0, -999_999_999, 999_999_999]))
def test_a_task_with_absurd_times_is_undecodable_or_usable(name: str, seconds: int, nanos: int) -> None:
    told = ""
    try:
        usable(Task.decode(message(**{name: (seconds, nanos)}).SerializeToString()))
    except Undecodable as error:
        told = str(error)
    assert not told or name in told


@given(st.binary(max_size=200))
def test_random_bytes_are_undecodable_or_usable(data: bytes) -> None:
    try:
        task = Task.decode(data)
    except Undecodable:
        return
    usable(task)


@pytest.mark.parametrize(
    "field", ["reply_channel", "traceparent", "tracestate", "idempotency_key", "fingerprint", "id", "model"]
)
def test_a_text_of_a_megabyte_is_undecodable(field: str) -> None:
    made = message()
    setattr(made, field, "x" * 1_000_000)
    with pytest.raises(Undecodable, match=field):
        Task.decode(made.SerializeToString())


@pytest.mark.parametrize("task_id", ["not-a-uuid", "a\0b", "}{" + ID, "*", "0189ABCD" + ID[8:], ID + "\n"])
def test_an_id_that_is_no_canonical_uuid_is_undecodable(task_id: str) -> None:
    made = message()
    made.id = task_id
    with pytest.raises(Undecodable, match="id"):
        Task.decode(made.SerializeToString())


def test_a_reply_channel_with_blanks_is_undecodable() -> None:
    made = message()
    made.reply_channel = "a\r\nb c"
    with pytest.raises(Undecodable, match="reply_channel"):
        Task.decode(made.SerializeToString())


@given(seconds=INT64 | EXTREMES, nanos=NANOS, attempt=st.integers(0, 2**32 - 1), state=st.integers(0, 7))
def test_an_outcome_with_absurd_times_is_undecodable_or_usable(
    seconds: int, nanos: int, attempt: int, state: int
) -> None:
    made = task_pb2.Outcome(task_id=ID, state=state, attempt=attempt, body=b"x")  # type: ignore[arg-type]  # also numbers that are no state
    made.finished_at.seconds, made.finished_at.nanos = seconds, nanos
    made.started_at.seconds = seconds
    try:
        outcome = Outcome.decode(made.SerializeToString())
    except Undecodable:
        return
    assert MIN_TIME <= outcome.finished_at <= MAX_TIME
    assert Outcome.decode(outcome.encode()) == outcome


WORDS = st.sampled_from(
    [b"", b"nan", b"inf", b"-inf", b"1e308", b"-1e308", b"1e12", b"1_000", b"9" * 5000, b"\xff", b"0", b"-1", b"1.7e9"]
) | st.binary(max_size=12)
FIELDS = [
    b"state", b"revision", b"attempt", b"created_at", b"updated_at", b"deadline", b"ttl", b"retries", b"retry_at",
    b"started_at", b"progress", b"instance", b"model", b"fingerprint", b"outcome",
]  # fmt: skip
GOOD = {
    b"model": b"ModelA", b"state": b"running", b"revision": b"2", b"attempt": b"1", b"fingerprint": b"f" * 64,
    b"created_at": b"1.7e9", b"updated_at": b"1.7e9", b"deadline": b"", b"ttl": b"60.0",
}  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(FIELDS), WORDS, max_size=4),
    st.sampled_from([b"queued", b"running", b"failed", b"succeeded"]),
)
def test_a_record_with_absurd_values_is_undecodable_or_shown(changes: dict[bytes, bytes], state: bytes) -> None:
    fields = {**GOOD, b"state": state, b"outcome": b"", **changes}
    try:
        record = replies.record(ID, [word for pair in fields.items() for word in pair])
    except Undecodable:
        return
    TaskBody.of(record, None)


def elements() -> st.SearchStrategy[object]:
    return st.recursive(
        st.none() | st.integers() | st.binary(max_size=9), lambda of: st.lists(of, max_size=9), max_leaves=9
    )


@pytest.mark.parametrize(
    "reader", [replies.created, replies.fetched, replies.started, replies.finished, replies.number, replies.ended]
)
@given(element=elements())
def test_any_answer_of_a_script_is_undecodable_or_read(reader: replies.Reader[object], element: object) -> None:
    try:
        reader(ID, element)  # type: ignore[arg-type]  # whatever a server sends
    except Undecodable:
        return


@given(st.binary(max_size=60))
def test_any_wake_up_is_undecodable_or_read(data: bytes) -> None:
    try:
        replies.announcement(data)
    except Undecodable:
        return


async def test_an_error_of_a_class_with_surrogates_in_its_names_is_an_outcome_that_can_be_stored() -> None:
    kind = type("Odd", (ValueError,), {"__module__": "m\udfff"})
    kind.__qualname__ = "Odd\ud800"
    run = TaskRun(Task.decode(message().SerializeToString()))
    for debug in (False, True):
        outcome = failure(run, kind("boom"), instance=InstanceId(new_task_id()), now=1.7e9, debug=debug)
        assert Outcome.decode(outcome.encode()).failure == outcome.failure


async def test_an_error_of_a_class_whose_module_is_no_text_is_an_outcome_that_can_be_stored() -> None:
    for module in (None, 7, "x" * 1_000_000):
        kind = type("Odd", (ValueError,), {"__module__": module})
        run = TaskRun(Task.decode(message().SerializeToString()))
        outcome = failure(run, kind("boom"), instance=InstanceId(new_task_id()), now=1.7e9, debug=True)
        assert Outcome.decode(outcome.encode()).failure == outcome.failure
        assert len(outcome.encode()) < 100_000
