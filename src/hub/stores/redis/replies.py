"""Task records in Redis: what the scripts of `hub.stores.redis.commands` answer. Does no I/O.

A reader takes the task's id and the element of the reply that belongs to it, and raises `Undecodable` when what is under
the task's keys is no task record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, takewhile
from math import isnan
from typing import Final, NamedTuple, TypeAlias, TypeVar

from hub.errors import Undecodable
from hub.ports.result_store import Adoption, Chunk, ChunkPage, ChunkPosition, Missing, Start
from hub.redis.connection import Reply
from hub.stores.waiters import Change
from hub.task import MAX_TIME, MIN_TIME, Failure, Outcome, Progress, Task, TaskRecord
from hub.types import Fingerprint, InstanceId, ModelName, TaskId, TaskState

R = TypeVar("R")

Reader: TypeAlias = Callable[[TaskId, Reply], R]

VANISHED: Final = -1
"""The server knows nothing of the task."""

_WITHDRAWN: Final = "withdrawn"
_STATES: Final = {state.value: state for state in TaskState}
_ABSENT: Final = {b"unknown": Missing.UNKNOWN, b"gone": Missing.GONE}


def answers(replies: Iterable[Reply], task_ids: Iterable[TaskId], read: Reader[R]) -> list[R]:
    """One answer for each task, out of the replies to the chunks that carried them."""
    elements: list[Reply] = []
    for reply in replies:
        if not isinstance(reply, Sequence) or isinstance(reply, bytes):
            raise Undecodable("answer of a script", repr(reply))
        elements += reply
    return [read(task_id, element) for task_id, element in zip(task_ids, elements, strict=True)]


class Large(NamedTuple):
    """There is a record whose outcome has so many bytes; it is to be read by itself."""

    size: int


def created(task_id: TaskId, element: Reply) -> TaskRecord | Large | None:
    if isinstance(element, int):
        return Large(element)
    return None if element is None else record(task_id, element)


def fetched(task_id: TaskId, element: Reply) -> TaskRecord | Missing | Large:
    if isinstance(element, int):
        return Large(element)
    if isinstance(element, bytes) and (absent := _ABSENT.get(element)) is not None:
        return absent
    return record(task_id, element)


def whole(task_id: TaskId, element: Reply) -> TaskRecord | Missing:
    """What a reader that takes outcomes of any size is answered."""
    found = fetched(task_id, element)
    if isinstance(found, Large):
        raise _undecodable(task_id, element)
    return found


def fetched_or_why_not(task_id: TaskId, element: Reply) -> TaskRecord | Missing | Large | Undecodable:
    """For groups in which one bad record must not fail the others."""
    try:
        return fetched(task_id, element)
    except Undecodable as error:
        return error


def page(task_id: TaskId, element: Reply) -> ChunkPage | Missing | Large:
    """The answer to `hub.stores.redis.commands.chunks`; `Large` is the size of a chunk that is to be read by itself."""
    match element:
        case int(size):
            return Large(size)
        case bytes(word) if (absent := _ABSENT.get(word)) is not None:
            return absent
        case [bytes(word), int(revision), int(attempt), int(total), int(first), bodies]:
            state = _state(f"task record {task_id}", word.decode(errors="replace"))
            if state is None or not isinstance(bodies, Sequence):
                raise _undecodable(task_id, element)
            found = [
                Chunk(ChunkPosition(attempt, number), body)
                for number, body in enumerate(bodies, first)
                if isinstance(body, bytes)
            ]
            return ChunkPage(
                attempt=attempt,
                chunks=found,
                total=total,
                last=ChunkPosition(attempt, first - 1 + len(found)),
                state=state,
                revision=revision,
            )
        case _:
            raise _undecodable(task_id, element)


def started(task_id: TaskId, element: Reply) -> Start | None:
    """`None` for a task without a record."""
    match element:
        case [b"unknown", 0, 0]:
            return None
        case [bytes(word), int(attempt), int(retries)]:
            return Start(_state(f"task record {task_id}", word.decode(errors="replace")), attempt, retries)
        case _:
            raise _undecodable(task_id, element)


def number(task_id: TaskId, element: Reply) -> int:
    """What `finish` and its like answer: above 0 for yes, 0 for no, `VANISHED`."""
    if not isinstance(element, int):
        raise _undecodable(task_id, element)
    return element


class Finished(NamedTuple):
    """What `finish` answers: `number` as above; of an ending that counts and is listed, the model and the lifetime too.

    `children` are those of an ending that counts, ended or not.
    """

    number: int
    model: str = ""
    lifetime_ms: int = 0
    children: tuple[TaskId, ...] = ()


def finished(task_id: TaskId, element: Reply) -> Finished:
    match element:
        case [int(revision), bytes(model), int(lifetime_ms)]:
            return Finished(revision, model.decode(errors="replace"), lifetime_ms)
        case [int(revision), bytes(model), int(lifetime_ms), [*children]]:
            ids = tuple(TaskId(child.decode(errors="replace")) for child in children if isinstance(child, bytes))
            return Finished(revision, model.decode(errors="replace"), lifetime_ms, ids)
        case _:
            return Finished(number(task_id, element))


def adopted(task_id: TaskId, element: Reply) -> Adoption:
    """What `adopt` answers; `task_id` is that of the child."""
    match number(task_id, element):
        case 0:
            return Adoption.ENDED
        case 2:
            return Adoption.FULL
        case _:
            return Adoption.ADOPTED


def entries(reply: Reply) -> list[str]:
    """What one list answers; text that is no entry of ours is left out."""
    if not isinstance(reply, Sequence) or isinstance(reply, bytes):
        raise Undecodable("list of recent tasks", repr(reply))
    return [entry.decode() for entry in reply if isinstance(entry, bytes) and entry.isascii()]


def affirmed(task_id: TaskId, element: Reply) -> bool:
    return number(task_id, element) > 0


def ended(_: TaskId, element: Reply) -> bool:
    """Whether a run that was looked up by `resync` is needed no more; of what cannot be read, that is unknown."""
    word = element.decode(errors="replace") if isinstance(element, bytes) else ""
    return word == _WITHDRAWN or (word in _STATES and _STATES[word].terminal)


def record(task_id: TaskId, element: Reply) -> TaskRecord:
    if not isinstance(element, Sequence) or isinstance(element, bytes):
        raise _undecodable(task_id, element)
    words = [word for word in element if isinstance(word, bytes)]
    if len(words) != len(element) or len(words) % 2:  # HGETALL answers pairs of texts
        raise _undecodable(task_id, element)
    fields = dict(zip(words[::2], words[1::2], strict=True))
    try:
        state = TaskState(fields[b"state"].decode())
        deadline = fields[b"deadline"]
        updated_at = _time(fields[b"updated_at"])
        queued = state is TaskState.QUEUED  # some fields mean nothing otherwise
        progress, retry_at, started_at = (fields.get(name) for name in (b"progress", b"retry_at", b"started_at"))
        outcome = _outcome(task_id, state, _joined(fields), updated_at) if state.terminal else None
        if outcome is None or outcome.started_at is None:
            began = _time(started_at) if started_at and not queued else None
        else:
            began = outcome.started_at
        return TaskRecord(
            id=task_id,
            model=ModelName(fields[b"model"].decode()),
            state=state,
            revision=int(fields[b"revision"]),
            attempt=int(fields[b"attempt"]),
            instance=InstanceId(fields.get(b"instance", b"").decode()) or None,
            fingerprint=Fingerprint(fields[b"fingerprint"].decode()),
            created_at=_time(fields[b"created_at"]),
            updated_at=updated_at,
            deadline=_time(deadline) if deadline else None,
            expires_at=min(updated_at + _time(fields[b"ttl"]), MAX_TIME),
            outcome=outcome,
            started_at=began,
            retries=int(fields.get(b"retries", b"0")),
            retry_at=_time(retry_at) if queued and retry_at else None,
            progress=_progress(progress) if progress else None,
            digest=fields.get(b"digest", b"").decode(),
            pending=queued and b"pending" in fields,
            parent=TaskId(fields[b"parent"].decode()) if b"parent" in fields else None,
            chunks=_chunks(fields.get(b"chunks"), fields[b"attempt"]),
        )
    except KeyError as error:
        raise Undecodable(f"task record {task_id}", f"it has no {error.args[0].decode()}") from error
    except ValueError as error:
        raise Undecodable(f"task record {task_id}", str(error)) from error


def _joined(fields: Mapping[bytes, bytes]) -> bytes:
    """The bytes of an outcome, which are in one field or in several."""
    first = fields[b"outcome"]
    if b"2" not in fields:
        return first
    return b"".join((first, *takewhile(bool, (fields.get(b"%d" % number, b"") for number in count(2)))))


def _outcome(task_id: TaskId, state: TaskState, data: bytes, at: float) -> Outcome:
    """The outcome of a task. The task has ended however its bytes read, so those that do not are its failure."""
    try:
        return Outcome.decode(data, task_id)
    except Undecodable as error:
        failure = Failure(code=error.code, message=f"its outcome was stored and cannot be read: {error}")
        return Outcome(task_id=task_id, state=state, failure=failure, finished_at=at)


def _time(text: bytes | str) -> float:
    """A time or a lifetime. What no calendar has becomes the nearest one that it has: the task can be shown all the same.

    Raises:
        ValueError: It is no number.
    """
    value = float(text)
    return 0.0 if isnan(value) else min(max(value, MIN_TIME), MAX_TIME)


def _chunks(position: bytes | None, attempt: bytes) -> int:
    """How many chunks of an attempt are stored."""
    if position is None:
        return 0
    last = ChunkPosition.parse(position.decode())
    return last.number if last.attempt == int(attempt) else 0


def _progress(words: bytes) -> Progress:
    at, fraction, message = words.decode().split(" ", 2)
    return Progress(fraction=None if fraction == "-" else _fraction(fraction), message=message, at=_time(at))


def _fraction(text: str) -> float | None:
    value = float(text)
    return None if isnan(value) else min(max(value, 0.0), 1.0)


def announcement(message: bytes) -> Change:
    """A change out of a notification, with what has changed in its record since its creation, for `announced`.

    Raises:
        Undecodable: Something else was published on our channel.
    """
    change, _, packed = message.partition(b"\n")
    try:
        task_id, revision, word = change.decode().split(" ")
        return Change(TaskId(task_id), int(revision), _state("wake-up", word), packed)
    except ValueError as error:
        raise Undecodable("wake-up", str(error)) from error


class Appended(NamedTuple):
    """Chunks that were added to the stream of a task, as a notification says."""

    task_id: TaskId
    revision: int
    attempt: int
    first: int
    bodies: Sequence[bytes]


APPENDED: Final = b"chunks\n"
"""What notifications of chunks begin with."""


def appended(message: bytes) -> list[Appended]:
    """The chunks out of a notification that begins with `APPENDED`.

    Raises:
        Undecodable: It is none of ours.
    """
    head, _, texts = message[len(APPENDED) :].partition(b"\n")
    found: list[Appended] = []
    at = 0
    try:
        for entry in head.decode().split(";"):
            task_id, revision, attempt, first, *lengths = entry.split(" ")
            bodies = [texts[at : (at := at + int(length))] for length in lengths]
            found.append(Appended(TaskId(task_id), int(revision), int(attempt), int(first), bodies))
    except ValueError as error:
        raise Undecodable("wake-up", str(error)) from error
    return found


def announced(change: Change, before: Task | TaskRecord) -> TaskRecord | None:
    """The record after an announced ending.

    Args:
        change: The ending, with what was published.
        before: The task, or its record before it had ended.

    Returns:
        `None` if that cannot be told, because the record was written anew meanwhile, or the announcement cannot be read.
    """
    state = change.state
    try:
        created_at, updated, ttl, attempt, instance, started_at, retries, parent, data = change.packed.split(b"\n", 8)
        if state is None or _time(created_at) != before.created_at:
            return None
        updated_at = _time(updated)
        outcome = _outcome(change.task_id, state, data, updated_at)
        began = outcome.started_at if outcome.started_at is not None else _time(started_at) if started_at else None
        return TaskRecord(
            id=change.task_id,
            model=before.model,
            state=state,
            revision=change.revision,
            attempt=int(attempt),
            instance=InstanceId(instance.decode()) if instance else None,
            fingerprint=before.fingerprint,
            created_at=before.created_at,
            updated_at=updated_at,
            deadline=before.deadline,
            expires_at=min(updated_at + _time(ttl), MAX_TIME),
            outcome=outcome,
            started_at=began,
            retries=int(retries),
            digest=before.digest,
            parent=TaskId(parent.decode()) if parent else None,
        )
    except ValueError:
        return None


def _state(what: str, word: str) -> TaskState | None:
    try:
        return None if word == _WITHDRAWN else _STATES[word]
    except KeyError:
        raise Undecodable(what, f"{word!r} is not a state") from None


def _undecodable(task_id: TaskId, element: Reply) -> Undecodable:
    reason = element.decode(errors="replace") if isinstance(element, bytes) else repr(element)
    return Undecodable(f"task record {task_id}", reason)
