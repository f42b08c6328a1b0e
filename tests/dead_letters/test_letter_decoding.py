"""Dead letters that hold anything: each is read."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings, strategies as st

from hub.dead_letters.letter import DeadLetter
from hub.dead_letters.records import death_of
from hub.ports.result_store import Missing
from hub.task import MAX_TIME, Outcome
from tests.dead_letters.helpers import ECHO, delivery, new_task
from tests.support.examples import examples

TASK = new_task()
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats()
    | st.binary(max_size=9)
    | st.text(max_size=9)
    | st.datetimes(timezones=st.just(UTC))
    | st.datetimes()
    | st.sampled_from(["Echo", b"Echo", "delivery_limit", "x" * 100_000])
    | st.sampled_from([datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.sampled_from(["queue", "reason", "time"]), of, max_size=3),
    max_leaves=9,
)
NAMES = [
    "hub-code", "hub-reason", "hub-attempt", "hub-instance", "hub-model", "hub-died-at",
    "x-death", "x-last-death-reason", "x-first-death-reason",
]  # fmt: skip


@settings(max_examples=examples(500))
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), values, max_size=9),
    body=st.binary(max_size=60) | st.just(TASK.encode()),
    message_id=st.text(max_size=9),
)
def test_any_letter_is_read_and_its_death_can_be_stored(
    headers: dict[str, object], body: bytes, message_id: str
) -> None:
    letter = DeadLetter.read(delivery(body, headers, message_id=message_id), ECHO)
    assert letter.code
    assert letter.reason
    assert letter.died_at is None or 0 <= letter.died_at <= MAX_TIME
    if letter.task is not None:
        outcome = death_of(letter, Missing.UNKNOWN, now=1.7e9)
        assert Outcome.decode(outcome.encode()) == outcome
