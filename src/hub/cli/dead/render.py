"""Dead letters on a terminal and as JSON. Their texts are not trusted: control characters are replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from hub.cli.dead.decode import DecodedBody, hex_lines
from hub.cli.terminal import GAP, WIDE, age, moment, one_line, printable, rows_of
from hub.dead_letters import DeadLetter
from hub.ports.result_store import Missing
from hub.task import TaskRecord
from hub.types import TaskId

Record = TaskRecord | Missing | None
"""The record of the task of a letter; `None` if the letter is not a task."""


def record_of(letter: DeadLetter, records: Mapping[TaskId, TaskRecord | Missing]) -> Record:
    return None if letter.task is None else records[letter.task.id]


def letter_lines(letters: Sequence[tuple[DeadLetter, Record]], *, now: float, width: int) -> Iterator[Text]:
    """Two lines for each letter, below a headline; no line is wider than `width`, unless that is less than 80."""
    wide = width >= WIDE
    rows = [_headline(wide=wide), *(_cells(letter, record, now, wide=wide) for letter, record in letters)]
    for number, line in enumerate(rows_of(rows[0], rows[1:])):
        yield line
        if number:
            reason = Text(GAP + one_line(letters[number - 1][0].reason), style="dim", no_wrap=True)
            reason.truncate(width, overflow="ellipsis")
            yield reason


def detail(letter: DeadLetter, record: Record, body: DecodedBody, *, now: float) -> Table:
    """A table of all attributes of a letter, without its body."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _attributes(letter, record, now):
        table.add_row(name, Text(printable(value)))
    for header, content in letter.delivery.headers.items():
        if header != "hub-reason":  # shown in full above
            table.add_row("header", Text(printable(f"{header}: {content}")))
    table.add_row("body", Text(f"{len(body.data)} bytes, {body.what}"))
    if body.problem:
        table.add_row("", Text(printable(f"shown as bytes: {body.problem}"), style="dim"))
    return table


def body_lines(body: DecodedBody) -> Iterable[str]:
    if body.json is None:
        return hex_lines(body.data)
    return msgspec.json.format(body.json, indent=2).decode().splitlines()


def as_json(letter: DeadLetter, record: Record) -> dict[str, object]:
    """A letter as a JSON object, without its body. Times are Unix seconds."""
    task = letter.task
    return {
        "id": letter.id,
        "task": task.id if task else None,
        "message_id": letter.delivery.message_id,
        "model": task.model if task else letter.model,
        "code": letter.code,
        "reason": letter.reason,
        "died_at": letter.died_at,
        "attempt": letter.attempt,
        "instance": letter.instance,
        "state": record.state.value if isinstance(record, TaskRecord) else None,
        "created_at": task.created_at if task else None,
        "deadline": task.deadline if task else None,
        "fingerprint": task.fingerprint if task else None,
        "bytes": len(letter.delivery.body),
    }


def count_codes(letters: Iterable[DeadLetter]) -> str:
    """The number of letters of each code, such as `3 wrong_contract, 1 undecodable`."""
    counts: dict[str, int] = {}
    for letter in letters:
        counts[letter.code] = counts.get(letter.code, 0) + 1
    return ", ".join(f"{count} {printable(code)}" for code, count in sorted(counts.items()))


def _headline(*, wide: bool) -> tuple[str, ...]:
    return ("task", "died at (UTC)" if wide else "died", "code", "try", "state", *(["instance"] if wide else []))


def _cells(letter: DeadLetter, record: Record, now: float, *, wide: bool) -> tuple[str, ...]:
    return (
        one_line(letter.id) or "(no id)",
        _died(letter.died_at, now, wide=wide),
        one_line(letter.code),
        "-" if letter.attempt is None else str(letter.attempt),
        _state(record),
        *([one_line(letter.instance or "-")] if wide else []),
    )


def _died(at: float | None, now: float, *, wide: bool) -> str:
    if at is None:
        return "-"
    return moment(at) if wide else age(now - at)


def _state(record: Record) -> str:
    match record:
        case None:
            return "not a task"
        case TaskRecord():
            return record.state
        case Missing():
            return "expired"


def _attributes(letter: DeadLetter, record: Record, now: float) -> Iterator[tuple[str, str]]:
    task = letter.task
    if task is None:
        yield "message", letter.id or "(no id)"
    else:
        yield "task", task.id
    yield "model", letter.model if task is None else task.model
    if task is not None and task.model != letter.model:
        yield "found among", f"the dead letters of {letter.model}"
    yield "code", letter.code
    yield "reason", letter.reason
    yield "died", "unknown" if letter.died_at is None else _when(letter.died_at, now)
    yield "attempt", "unknown" if letter.attempt is None else str(letter.attempt)
    yield "instance", letter.instance or "none"
    if isinstance(record, TaskRecord):
        yield "state", f"{record.state}, revision {record.revision}, kept until {moment(record.expires_at)} UTC"
        failure = record.outcome and record.outcome.failure
        if failure and (failure.code, failure.message) != (letter.code, letter.reason):
            yield "outcome", f"{failure.code}: {failure.message}"
    else:
        yield "state", _state(record)
    if task is not None:
        yield "created", _when(task.created_at, now)
        yield "deadline", "none" if task.deadline is None else _when(task.deadline, now)
        yield "contract", task.fingerprint or "none"
        yield "trace", task.traceparent or "none"
        if task.idempotency_key:
            yield "idempotency key", task.idempotency_key


def _when(seconds: float, now: float) -> str:
    if seconds > now:
        return f"{moment(seconds)} UTC (in {age(seconds - now)})"
    return f"{moment(seconds)} UTC ({age(now - seconds)} ago)"
