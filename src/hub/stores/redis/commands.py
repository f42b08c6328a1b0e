"""Task records in Redis: which commands change them. Does no I/O; `hub.stores.redis.replies` reads the answers.

The transitions are Lua scripts (`hub.stores.redis.lua`), so each is atomic, and one command carries many tasks: a group costs
one round trip and one `EVALSHA` for each `CHUNK` of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from hub.ports.result_store import (
    LIST_LENGTH,
    MAX_CHILDREN,
    ChunkAppend,
    ChunkPosition,
    ProgressReport,
    ReleasedTask,
)
from hub.redis.connection import Arg, Command
from hub.redis.script import Script, load_script
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.stores.redis.list_changes import ListChange, ListName
from hub.stores.running import StartedRun
from hub.task import Outcome, Progress, Task
from hub.types import PENDING_TTL, InstanceId, TaskId

CHUNK: Final = 64
"""Tasks in one command: the server does nothing else while a script runs, some 20 microseconds for each task."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes in one command, after which the next task gets a command of its own."""

SMALL: Final = 64 * 1024
"""Bytes of an outcome up to which its record is answered beside others; larger ones are read one by one."""

Identity: TypeAlias = tuple[Arg, ...]
"""What a script needs to write the record of a task: model, fingerprint, created_at, deadline, ttl, channel, digest."""

PROBE: Final[Command] = ("EVAL", "return redis.call('SET', KEYS[1], '', 'PX', 1000)", 1, "hub:{probe}")
"""A write by a script, as all changes are."""

_LIST_CHUNK: Final = 500
"""Entries in one command."""

_LUA: Final = "hub.stores.redis.lua"
CREATE: Final = load_script(_LUA, "common", "create")
CONFIRM: Final = load_script(_LUA, "common", "confirm")
WITHDRAW: Final = load_script(_LUA, "common", "withdraw")
START: Final = load_script(_LUA, "common", "start")
RESYNC: Final = load_script(_LUA, "common", "resync")
RELEASE: Final = load_script(_LUA, "common", "release")
REPORT: Final = load_script(_LUA, "common", "report")
RESET: Final = load_script(_LUA, "common", "reset")
ADOPT: Final = load_script(_LUA, "common", "adopt")
PARENT: Final = load_script(_LUA, "common", "parent")
FINISH: Final = load_script(_LUA, "common", "finish")
FETCH: Final = load_script(_LUA, "common", "fetch")
APPEND: Final = load_script(_LUA, "common", "append")
CHUNKS: Final = load_script(_LUA, "common", "chunks")
LIST: Final = load_script(_LUA, "list")

_UNFINISHED_MS: Final = int(UNFINISHED_TTL * 1000)
_TOMBSTONE_MS: Final = int(TOMBSTONE_TTL * 1000)
_PENDING_MS: Final = int(PENDING_TTL * 1000)


def identity(task: Task) -> Identity:
    return (
        task.model,
        task.fingerprint,
        repr(task.created_at),
        "" if task.deadline is None else repr(task.deadline),
        _short(task.result_ttl),
        task.reply_channel,
        task.digest,
    )


def create(tasks: Sequence[Task], *, now: float) -> list[Command]:
    return _commands(CREATE, (*_lifetimes(now), _PENDING_MS, SMALL), ((task.id, identity(task)) for task in tasks))


def confirm(tasks: Sequence[Task], *, now: float) -> list[Command]:
    return _commands(CONFIRM, _lifetimes(now), ((task.id, identity(task)) for task in tasks))


def withdraw(tasks: Sequence[Task]) -> list[Command]:
    return _commands(WITHDRAW, (_UNFINISHED_MS,), ((task.id, (repr(task.created_at),)) for task in tasks))


def start(
    tasks: Iterable[Task], instance: InstanceId, *, channel: str, attempts: int, now: float, described: bool = False
) -> list[Command]:
    """Starts tasks.

    Args:
        tasks: Which.
        instance: Where.
        channel: Is notified when a task ends.
        attempts: How many there may be.
        now: Unix seconds.
        described: Whether missing records are written.
    """
    head = (*_lifetimes(now), instance, channel, attempts)
    return _commands(START, head, ((task.id, identity(task) if described else (task.digest,)) for task in tasks))


def resync(runs: Iterable[StartedRun[Task]], *, channel: str, now: float) -> list[Command]:
    """For runs that `start` has begun, and that the server may have forgotten."""
    return _commands(
        RESYNC,
        (*_lifetimes(now), channel),
        ((run.task_id, (run.attempt, run.instance, repr(run.started_at), *identity(run.note))) for run in runs),
    )


def release(runs: Sequence[ReleasedTask], *, now: float) -> list[Command]:
    return _commands(
        RELEASE,
        _lifetimes(now),
        ((run.task_id, (run.attempt, "" if run.retry_at is None else repr(run.retry_at))) for run in runs),
    )


def report(reports: Sequence[ProgressReport], *, now: float) -> list[Command]:
    return _commands(
        REPORT,
        (repr(now), _UNFINISHED_MS),
        ((report.task_id, (report.attempt, progress_words(report.progress))) for report in reports),
    )


def reset(tasks: Sequence[Task], *, now: float) -> list[Command]:
    return _commands(RESET, _lifetimes(now), ((task.id, identity(task)) for task in tasks))


def adopt(children: Sequence[Task]) -> list[Command]:
    """The keys are those of the parents."""
    return _commands(
        ADOPT, (MAX_CHILDREN,), ((child.parent, (child.id,)) for child in children if child.parent is not None)
    )


def parent(children: Sequence[Task]) -> list[Command]:
    """Writes into the records of tasks which parent they have."""
    return _commands(PARENT, (), ((child.id, (child.parent or "",)) for child in children))


def finish(outcomes: Iterable[Outcome], sole_runs: Iterable[bool], *, channel: str, now: float) -> list[Command]:
    """`sole_runs`: for each outcome whether its run is the only one of the task at `channel`, which then needs no message."""
    return _commands(
        FINISH,
        (repr(now), _TOMBSTONE_MS, channel),
        (
            (
                outcome.task_id,
                (outcome.state.value, outcome.encode(with_id=False), "1" if by_itself else "", _made(outcome)),
            )
            for outcome, by_itself in zip(outcomes, sole_runs, strict=True)
        ),
    )


def append(appends: Iterable[ChunkAppend], *, now: float) -> list[Command]:
    return _commands(
        APPEND,
        (repr(now), _UNFINISHED_MS),
        ((each.task_id, (each.attempt, each.first, len(each.bodies), *each.bodies)) for each in appends),
    )


def chunks(
    task_id: TaskId, after: ChunkPosition | None, *, limit: int, limit_bytes: int, channel: str, whole: bool = False
) -> list[Command]:
    """Reads chunks; `whole` answers a single one that has more than `limit_bytes`, else its size is answered."""
    place = after or ChunkPosition(0, 0)
    args = (place.attempt, place.number, limit, limit_bytes, channel, "1" if whole else "")
    return _commands(CHUNKS, (), ((task_id, args),))


def fetch(task_ids: Sequence[TaskId], *, channel: str = "", whole: bool = False) -> list[Command]:
    """Reads records.

    Args:
        task_ids: Whose.
        channel: Is notified of the next changes of each record that may change, unless empty.
        whole: Whether outcomes above `SMALL` are answered too; else their sizes are.
    """
    return _commands(FETCH, (channel, "" if whole else SMALL), ((task_id, ()) for task_id in task_ids))


def list_changes(changes: Mapping[ListName, ListChange]) -> list[Command]:
    return [LIST.by_digest(keys, (LIST_LENGTH, *words)) for keys, words in _list_chunks(changes)]


def read_lists(names: Iterable[ListName], *, before: str, limit: int) -> list[Command]:
    """For each list its newest entries below `before`."""
    highest = f"({before}" if before else "+"
    return [("ZREVRANGEBYLEX", _list_key(name), highest, "-", "LIMIT", 0, limit) for name in names]


def progress_words(progress: Progress) -> bytes:
    """Time, fraction (or `-`) and message, with a space between them."""
    fraction = "-" if progress.fraction is None else repr(progress.fraction)
    return f"{progress.at!r} {fraction} {progress.message}".encode(errors="replace")


def _made(outcome: Outcome) -> str:
    return "" if outcome.chunks is None else f"{outcome.attempt}-{outcome.chunks}"


def _commands(script: Script, head: Sequence[Arg], tasks: Iterable[tuple[TaskId, Sequence[Arg]]]) -> list[Command]:
    return [script.by_digest(keys, (*head, *args)) for keys, args in _chunks(tasks)]


def _chunks(tasks: Iterable[tuple[TaskId, Sequence[Arg]]]) -> Iterator[tuple[list[str], list[Arg]]]:
    keys: list[str] = []
    args: list[Arg] = []
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


def _list_chunks(changes: Mapping[ListName, ListChange]) -> Iterator[tuple[list[str], list[Arg]]]:
    for name, change in changes.items():
        entries = list(change.entries.items())
        for start in range(0, len(entries), _LIST_CHUNK):
            part = entries[start : start + _LIST_CHUNK]
            added = [entry for entry, there in part if there]
            removed = [entry for entry, there in part if not there]
            yield [_list_key(name)], [change.lifetime_ms, len(added), len(removed), *added, *removed]


def _list_key(name: ListName) -> str:
    """All lists are in one hash slot, which is not that of the records."""
    return f"hub:{{recent}}:{name.state}" + (f":{name.model}" if name.model else "")


def _short(seconds: float) -> str:
    """As Python writes it, but for a whole number, of which Redis keeps few bytes."""
    return str(int(seconds)) if float(seconds).is_integer() else repr(seconds)


def _lifetimes(now: float) -> tuple[Arg, ...]:
    """The head of every script that lets a record live on."""
    return repr(now), _UNFINISHED_MS, _TOMBSTONE_MS
