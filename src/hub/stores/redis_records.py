"""Task records in Redis: which commands change them, and what the replies mean. Does no I/O.

The transitions are Lua scripts (`hub.stores.lua`), so each is atomic, and one command carries many tasks: a group costs
one round trip and one `EVALSHA` for each `CHUNK` of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from hub.errors import Undecodable
from hub.ports import Absent, Start
from hub.redis.link import Command, Reply, Word
from hub.redis.script import Script, load_script
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.task import Outcome, Task, TaskRecord
from hub.vocabulary import Fingerprint, InstanceId, ModelName, TaskId, TaskState

CHUNK: Final = 64
"""Tasks in one command: the server does nothing else while a script runs, about 10 microseconds for each task."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes in one command, after which the next task gets a command of its own."""

Identity = tuple[Word, ...]
"""What a script needs to write the record of a task anew: model, fingerprint, created_at, deadline, ttl, channel."""

T = TypeVar("T")
R = TypeVar("R")

_LUA: Final = "hub.stores.lua"
CREATE: Final = load_script(_LUA, "common", "create")
WITHDRAW: Final = load_script(_LUA, "common", "withdraw")
START: Final = load_script(_LUA, "common", "start")
FINISH: Final = load_script(_LUA, "common", "finish")
FETCH: Final = load_script(_LUA, "common", "fetch")

_NOBODY_KNOWS: Final[Identity] = ("", "", "", "", "0", "")
_WITHDRAWN: Final = b"withdrawn"
_ABSENT: Final = {b"unknown": Absent.UNKNOWN, b"gone": Absent.GONE}


def identity(task: Task) -> Identity:
    return (
        task.model,
        task.fingerprint,
        repr(task.created_at),
        "" if task.deadline is None else repr(task.deadline),
        repr(task.result_ttl),
        task.reply_channel,
    )


def create(tasks: Sequence[Task], *, now: float) -> list[Command]:
    head = (repr(now), repr(UNFINISHED_TTL), repr(TOMBSTONE_TTL))
    return _commands(CREATE, head, ((task.id, identity(task)) for task in tasks))


def withdraw(task_ids: Sequence[TaskId]) -> list[Command]:
    return _commands(WITHDRAW, (repr(UNFINISHED_TTL),), ((task_id, ()) for task_id in task_ids))


def start(tasks: Sequence[Task], instance: InstanceId, *, now: float) -> list[Command]:
    head = (repr(now), repr(UNFINISHED_TTL), repr(TOMBSTONE_TTL), instance)
    return _commands(START, head, ((task.id, identity(task)) for task in tasks))


def finish(outcomes: Sequence[Outcome], started: Mapping[TaskId, Identity], *, now: float) -> list[Command]:
    """`started`: the tasks that this process has started, for records that have vanished since."""
    return _commands(
        FINISH,
        (repr(now), repr(TOMBSTONE_TTL)),
        (
            (
                outcome.task_id,
                (
                    outcome.state.value,
                    outcome.encode(),
                    outcome.attempt,
                    outcome.instance or "",
                    *started.get(outcome.task_id, _NOBODY_KNOWS),
                ),
            )
            for outcome in outcomes
        ),
    )


def fetch(task_ids: Sequence[TaskId], *, channel: str = "") -> list[Command]:
    """With a channel, it is told of the next changes of each record that has not ended."""
    return _commands(FETCH, (channel,), ((task_id, ()) for task_id in task_ids))


def answers(replies: Iterable[Reply], read: Callable[[Reply], R]) -> list[R]:
    """One answer for each task, out of the replies to its chunks.

    Raises:
        Undecodable: What is under a task's keys is no task record.
    """
    return [read(element) for reply in replies for element in _elements(reply)]


def created(element: Reply) -> TaskRecord | None:
    return None if element is None else record(element)


def fetched(element: Reply) -> TaskRecord | Absent:
    if isinstance(element, bytes) and (absent := _ABSENT.get(element)) is not None:
        return absent
    return record(element)


def fetched_or_why_not(element: Reply) -> TaskRecord | Absent | Undecodable:
    """For groups in which one bad record must not fail the others."""
    try:
        return fetched(element)
    except Undecodable as error:
        return error


def started(element: Reply) -> Start:
    match element:
        case [bytes(state), int(attempt)]:
            return Start(None if state == _WITHDRAWN else _state(state), attempt)
        case _:
            raise _undecodable(element)


def counted(element: Reply) -> bool:
    if not isinstance(element, int):
        raise _undecodable(element)
    return element == 1


def record(element: Reply) -> TaskRecord:
    if not isinstance(element, Sequence) or isinstance(element, bytes):
        raise _undecodable(element)
    fields: dict[bytes, bytes] = dict(zip(element[::2], element[1::2], strict=True))  # type: ignore[arg-type]  # HGETALL
    try:
        state = TaskState(fields[b"state"].decode())
        deadline = fields[b"deadline"]
        return TaskRecord(
            id=TaskId(fields[b"id"].decode()),
            model=ModelName(fields[b"model"].decode()),
            state=state,
            revision=int(fields[b"revision"]),
            attempt=int(fields[b"attempt"]),
            instance=InstanceId(fields.get(b"instance", b"").decode()) or None,
            fingerprint=Fingerprint(fields[b"fingerprint"].decode()),
            created_at=float(fields[b"created_at"]),
            updated_at=float(fields[b"updated_at"]),
            deadline=float(deadline) if deadline else None,
            expires_at=float(fields[b"expires_at"]),
            outcome=Outcome.decode(fields[b"outcome"]) if state.terminal else None,
        )
    except KeyError as error:
        raise Undecodable("task record", f"it has no {error.args[0].decode()}") from error
    except ValueError as error:
        raise Undecodable("task record", str(error)) from error


def announcement(message: bytes) -> tuple[TaskId, int, TaskState | None]:
    """Task, revision and state out of a wake-up; no state when the task was withdrawn.

    Raises:
        Undecodable: Something else was published on our channel.
    """
    try:
        task_id, revision, state = message.decode().split(" ")
        return TaskId(task_id), int(revision), None if state == _WITHDRAWN.decode() else TaskState(state)
    except ValueError as error:
        raise Undecodable("wake-up", str(error)) from error


def _commands(script: Script, head: Sequence[Word], tasks: Iterable[tuple[TaskId, Sequence[Word]]]) -> list[Command]:
    return [script.by_digest(keys, (*head, *args)) for keys, args in _chunks(tasks)]


def _chunks(tasks: Iterable[tuple[TaskId, Sequence[Word]]]) -> Iterator[tuple[list[str], list[Word]]]:
    keys: list[str] = []
    args: list[Word] = []
    size = 0
    for task_id, words in tasks:
        keys += (f"hub:{{{task_id}}}:record", f"hub:{{{task_id}}}:tombstone")
        args += words
        size += sum(len(word) for word in words if isinstance(word, bytes))
        if len(keys) >= 2 * CHUNK or size >= CHUNK_BYTES:
            yield keys, args
            keys, args, size = [], [], 0
    if keys:
        yield keys, args


def _elements(reply: Reply) -> Sequence[Reply]:
    if not isinstance(reply, Sequence) or isinstance(reply, bytes):
        raise _undecodable(reply)
    return reply


def _state(word: bytes) -> TaskState:
    try:
        return TaskState(word.decode())
    except ValueError as error:
        raise Undecodable("task record", str(error)) from error


def _undecodable(element: Reply) -> Undecodable:
    return Undecodable("task record", element.decode(errors="replace") if isinstance(element, bytes) else repr(element))
