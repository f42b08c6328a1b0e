"""The fields of a dead letter, of an instance and of the broker."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hub.dead_letters import DeadLetter, select
from hub.ports.broker import Delivery
from tests.dead_letters.helpers import DIED, ECHO, INSTANCE, REASON, delivery, hub_headers, new_task


def read(body: bytes, headers: dict[str, object], message_id: str = "") -> DeadLetter:
    return DeadLetter.read(delivery(body, headers, message_id=message_id), ECHO)


def x_death(queue: str, reason: str) -> dict[str, object]:
    return {"queue": queue, "reason": reason, "count": 1, "time": datetime.fromtimestamp(DIED, UTC)}


def test_a_letter_tells_what_the_instance_wrote_on_it() -> None:
    task = new_task(b"body", deadline=5.0)

    letter = read(task.encode(), {**hub_headers()})

    assert letter.task == task
    assert letter.id == task.id
    assert (letter.code, letter.reason) == ("wrong_contract", REASON)
    assert (letter.attempt, letter.instance, letter.died_at) == (2, INSTANCE, DIED)
    assert not letter.broker_killed


def test_a_letter_of_the_broker_has_the_brokers_reason_as_its_code() -> None:
    letter = read(new_task().encode(), {"x-death": [x_death(ECHO, "delivery_limit")]})

    assert letter.code == "delivery_limit"
    assert "delivery limit" in letter.reason
    assert letter.died_at == DIED
    assert letter.broker_killed


def test_a_task_that_was_delayed_before_has_died_of_its_last_death_not_of_its_first() -> None:
    deaths = [x_death(ECHO, "delivery_limit"), x_death(f"{ECHO}.delay.4", "expired")]
    headers: dict[str, object] = {"x-first-death-reason": "expired", "x-death": deaths}

    assert read(b"", headers).code == "delivery_limit"
    assert read(b"", {"x-first-death-reason": "expired", "x-last-death-reason": "maxlen"}).code == "maxlen"


def test_the_words_of_an_instance_count_more_than_those_of_the_broker() -> None:
    letter = read(b"", {**hub_headers(), "x-first-death-reason": "expired", "x-death": [x_death(ECHO, "expired")]})

    assert letter.code == "wrong_contract"
    assert not letter.broker_killed


def test_a_message_that_is_no_task_is_called_by_its_message_id() -> None:
    letter = read(b"\xff\xff", {**hub_headers("undecodable")}, "message-7")

    assert letter.task is None
    assert letter.id == "message-7"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"hub-code": 5, "hub-died-at": "yesterday", "hub-attempt": "two", "hub-instance": None},
        {"x-death": "gone", "x-first-death-reason": 3},
        {"x-death": [], "hub-died-at": 10**30},
        {"x-death": ["a", 5, {"queue": 5}]},
    ],
)
def test_foreign_headers_are_taken_as_not_said(headers: dict[str, object]) -> None:
    letter = read(new_task().encode(), headers)

    assert letter.code == "unknown"
    assert "something else than hub" in letter.reason
    assert (letter.attempt, letter.instance, letter.died_at) == (None, None, None)


def test_a_time_that_no_calendar_has_is_no_time() -> None:
    assert read(b"", {**hub_headers(), "hub-died-at": 10**30}).died_at is None
    assert read(b"", {**hub_headers(), "hub-died-at": -1}).died_at is None


def letters() -> list[DeadLetter]:
    return [
        read(new_task().encode(), {**hub_headers()}),
        read(new_task().encode(), {**hub_headers("attempts_exhausted")}),
        read(b"\xff", {**hub_headers("undecodable")}, "message-7"),
    ]


def test_letters_are_picked_by_the_ids_of_their_tasks_or_messages() -> None:
    first, second, third = found = letters()

    assert select(found, [second.id, "message-7"]).letters == [second, third]
    assert select(found, [first.id.upper()]).letters == [first]
    assert select(found, []).letters == found
    assert select(found, [first.id, "message-8", "message-8"]).missing == ["message-8"]


def test_a_code_picks_none_that_died_of_anything_else() -> None:
    first, second, _ = found = letters()

    assert select(found, [], code="wrong_contract").letters == [first]
    picked = select(found, [first.id, second.id], code="wrong_contract")
    assert (picked.letters, picked.missing) == ([first], [second.id])


def test_letters_without_any_id_are_only_picked_with_all_others() -> None:
    nameless: Delivery = delivery(b"\xff", {})
    found = [DeadLetter.read(nameless, ECHO)]

    assert select(found, []).letters == found
    assert select(found, ["x"]).letters == []
