"""Dead letters on a terminal."""

from __future__ import annotations

import json

from rich.console import Console

from hub.cli.dead.decode import HEX_BYTES, DecodedBody, hex_lines
from hub.cli.dead.render import Record, as_json, body_lines, detail, letter_lines
from hub.cli.terminal import WIDE, age, moment, one_line, printable
from hub.dead_letters import DeadLetter
from hub.ports.result_store import Missing
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import ModelName, TaskState
from tests.dead_letters.helpers import BORN, DIED, ECHO, INSTANCE, NOW, REASON, delivery, hub_headers, new_task

NARROW = 80


def letter_of(task: Task, code: str = "attempts_exhausted", reason: str = REASON) -> DeadLetter:
    headers: dict[str, object] = {**hub_headers(code), "hub-reason": reason}
    return DeadLetter.read(delivery(task.encode(), headers), ECHO)


def record_of(task: Task, state: TaskState, outcome: Outcome | None = None) -> TaskRecord:
    return TaskRecord(
        id=task.id,
        model=task.model,
        state=state,
        revision=4,
        attempt=2,
        instance=INSTANCE,
        fingerprint=task.fingerprint,
        created_at=task.created_at,
        updated_at=NOW,
        deadline=None,
        expires_at=NOW + 60,
        outcome=outcome,
    )


def listed(*letters: tuple[DeadLetter, Record], width: int) -> list[str]:
    return [line.plain for line in letter_lines(letters, now=NOW, width=width)]


def test_a_list_fits_into_eighty_columns_and_keeps_its_ids_whole() -> None:
    task = new_task()

    lines = listed((letter_of(task), record_of(task, TaskState.SUCCEEDED)), width=NARROW)

    assert max(map(len, lines)) <= NARROW
    _, row, reason = lines
    assert row.split() == [task.id, "9", "min", "attempts_exhausted", "2", "succeeded"]
    assert reason.startswith(f"  {REASON[:40]}")
    assert reason.endswith("…")


def test_a_wide_list_has_dates_instances_and_whole_reasons() -> None:
    task = new_task()

    _, row, reason = listed((letter_of(task), Missing.UNKNOWN), width=WIDE)

    assert row.split() == [task.id, *moment(DIED).split(), "attempts_exhausted", "2", "expired", INSTANCE]
    assert reason.strip() == REASON


def test_a_letter_without_headers_is_listed() -> None:
    letter = DeadLetter.read(delivery(b"\xff", {}), ECHO)

    for width in (NARROW, WIDE):
        _, row, _ = listed((letter, None), width=width)
        assert row.startswith("(no id)")
        assert "not a task" in row


def test_control_characters_in_untrusted_text_are_replaced() -> None:
    letter = letter_of(new_task(), code="a\x1b[2J", reason="one\x1b]0;title\x07\ntwo\x9b31m")

    _, row, reason = listed((letter, None), width=NARROW)

    assert "\x1b" not in row
    assert (
        reason.strip()
        == "one\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER} two\N{REPLACEMENT CHARACTER}31m"
    )
    assert printable("a\nb") == "a\nb"
    assert one_line(" a \n  b ") == "a b"


def shown(letter: DeadLetter, record: Record, body: DecodedBody) -> str:
    console = Console(width=NARROW, highlight=False, markup=False, force_terminal=False)
    with console.capture() as capture:
        console.print(detail(letter, record, body, now=NOW))
    return capture.get()


def test_the_details_of_a_letter_have_all_attributes() -> None:
    task = new_task(b"body", deadline=DIED)
    failure = Failure(code="wrong_contract", message="the stored text is longer")
    outcome = Outcome(task_id=task.id, state=TaskState.DEAD, failure=failure, finished_at=DIED)

    text = shown(letter_of(task), record_of(task, TaskState.DEAD, outcome), DecodedBody(data=b"body", what="x.Request"))

    assert max(map(len, text.splitlines())) <= NARROW
    one = " ".join(text.split())
    for part in (
        task.id,
        REASON,
        "attempts_exhausted",
        f"died {moment(DIED)} UTC (9 min ago)",
        f"deadline {moment(DIED)} UTC",
        f"created {moment(BORN)} UTC",
        task.fingerprint[:40],
        "dead, revision 4",
        "wrong_contract: the stored text is longer",
        f"hub-instance: {INSTANCE}",
        "4 bytes, x.Request",
    ):
        assert part in one


def test_the_details_of_a_task_from_another_queue_name_that_queue() -> None:
    task = new_task(model=ModelName("Other"))

    text = shown(letter_of(task), Missing.UNKNOWN, DecodedBody(data=b"", what="a request", problem="not available"))

    assert "the dead letters of Echo" in text
    assert "shown as bytes: not available" in text


def test_a_request_is_shown_as_json_and_other_bodies_in_hex() -> None:
    assert list(body_lines(DecodedBody(data=b"", what="", json=b'{"a":[1]}'))) == ["{", '  "a": [', "    1", "  ]", "}"]
    first, last = hex_lines(bytes(range(0x3F, 0x51)))
    assert first == "00000000  3f 40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e  ?@ABCDEFGHIJKLMN"
    assert last == f"00000010  {'4f 50':<47}  OP"
    assert [*hex_lines(bytes(HEX_BYTES + 1))][-1] == f"... {HEX_BYTES + 1} bytes in all"
    assert list(hex_lines(b"")) == []


def test_times_and_ages_are_formatted() -> None:
    assert [age(seconds) for seconds in (-1, 0.5, 59, 60, 7200, 90_000)] == [
        "now",
        "now",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
    ]
    assert moment(0) == "1970-01-01 00:00:00"
    assert moment(1e18) == "1e+18"


def test_a_letter_is_a_json_object_of_plain_values() -> None:
    task = new_task(b"body")

    found = as_json(letter_of(task), record_of(task, TaskState.DEAD))

    assert json.loads(json.dumps(found)) == found
    assert (found["task"], found["code"], found["state"], found["died_at"]) == (
        task.id,
        "attempts_exhausted",
        "dead",
        DIED,
    )
