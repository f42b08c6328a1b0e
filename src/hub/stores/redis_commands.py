"""Task records in Redis: which commands change them. Does no I/O; `hub.stores.redis_replies` reads the answers.

The transitions are Lua scripts (`hub.stores.lua`), so each is atomic, and one command carries many tasks: a group costs
one round trip and one `EVALSHA` for each `CHUNK` of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from hub.redis.link import Command, Word
from hub.redis.script import Script, load_script
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.task import Outcome, Task
from hub.vocabulary import InstanceId, TaskId

CHUNK: Final = 64
"""Tasks in one command: the server does nothing else while a script runs, some 20 microseconds for each task."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes in one command, after which the next task gets a command of its own."""

Identity = tuple[Word, ...]
"""What a script needs to write the record of a task anew: model, fingerprint, created_at, deadline, ttl, channel."""

_LUA: Final = "hub.stores.lua"
CREATE: Final = load_script(_LUA, "common", "create")
WITHDRAW: Final = load_script(_LUA, "common", "withdraw")
START: Final = load_script(_LUA, "common", "start")
FINISH: Final = load_script(_LUA, "common", "finish")
FETCH: Final = load_script(_LUA, "common", "fetch")

_NOBODY_KNOWS: Final[Identity] = ("", "", "", "", "0", "")


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
    return _commands(CREATE, (repr(now),), ((task.id, (*identity(task), *_lifetimes(task))) for task in tasks))


def withdraw(task_ids: Sequence[TaskId]) -> list[Command]:
    return _commands(WITHDRAW, (_milliseconds(UNFINISHED_TTL),), ((task_id, ()) for task_id in task_ids))


def start(tasks: Sequence[Task], instance: InstanceId, *, now: float) -> list[Command]:
    head = (repr(now), instance)
    return _commands(START, head, ((task.id, (*identity(task), *_lifetimes(task))) for task in tasks))


def finish(outcomes: Sequence[Outcome], started: Mapping[TaskId, Identity], *, now: float) -> list[Command]:
    """`started`: the tasks that this process has started, for records that have vanished since."""
    return _commands(
        FINISH,
        (repr(now), _milliseconds(TOMBSTONE_TTL)),
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


def _lifetimes(task: Task) -> tuple[int, int]:
    """Of the record of a task that has not ended, and of its tombstone, which outlives it even if it starts late."""
    seconds = max(task.result_ttl, UNFINISHED_TTL)
    return _milliseconds(seconds), _milliseconds(2 * seconds + TOMBSTONE_TTL)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
