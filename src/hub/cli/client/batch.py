"""The command `hub batch`: a line of JSON in, a line with its outcome out, in order, with bounded memory."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from anyio import Event, create_memory_object_stream, create_task_group
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup
from anyio.to_thread import run_sync
from rich.progress import Progress

from hub.cli.client.commands import STDIN, unreadable
from hub.cli.command import EXIT_OK, EXIT_PARTIAL
from hub.cli.terminal import progress_bar
from hub.client.batch import BatchAnswer
from hub.client.client import Client
from hub.client.snapshot import TaskSnapshot
from hub.types import ModelName, TaskState

WINDOW: Final = 64
"""Tasks whose outcomes are waited for at once; further requests are submitted as these end."""


@dataclass(slots=True)
class _Outcome:
    """The line for one request, once `ready`."""

    line: dict[str, object] = field(default_factory=dict[str, object])
    good: bool = False
    ready: Event = field(default_factory=Event)


async def run_batch(
    client: Client, *, model: ModelName, file: str, out: str, waiting: bool, options: Mapping[str, Any]
) -> int:
    """Writes a line for each request: its task with the outcome, or the error that refused it.

    Args:
        client: Submits the requests.
        model: The model.
        file: A path, or - for standard input.
        out: A path; empty for standard output.
        waiting: Whether to wait for outcomes.
        options: Those of `Client.batch`.

    Raises:
        ConfigurationError: A file cannot be opened.
        HubError: As `Client.batch` says.
    """
    failed = 0
    with ExitStack() as files:
        lines = _stdin_lines() if file == STDIN else _file_lines(files.enter_context(_open(file)))
        output = _output(files, out)
        progress = files.enter_context(progress_bar("without a result", shown=bool(out) or not sys.stdout.isatty()))
        bar = progress.add_task(model, total=_count(file), failed=0)
        sender, receiver = create_memory_object_stream[_Outcome](WINDOW)
        async with create_task_group() as tg:
            answers = client.batch(model, lines, **options)
            tg.start_soon(_submit, client, answers, sender, tg, waiting, name=f"hub.batch {model}")
            failed = await _write(receiver, output, progress, bar)
    return EXIT_PARTIAL if failed else EXIT_OK


async def _submit(
    client: Client,
    answers: AsyncIterator[BatchAnswer[Any]],
    sender: ObjectSendStream[_Outcome],
    tg: TaskGroup,
    waiting: bool,  # noqa: FBT001 - start_soon has no keyword arguments
) -> None:
    async with sender:
        async for answer in answers:
            outcome = _Outcome()
            if answer.task is None:
                outcome.line = {"index": answer.index, "error": {} if answer.error is None else answer.error.problem}
                outcome.ready.set()
            elif waiting:
                tg.start_soon(_wait, client, answer, outcome, name=f"hub.batch task {answer.task.id}")
            else:
                outcome.line, outcome.good = {"index": answer.index, "id": answer.task.id}, True
                outcome.ready.set()
            await sender.send(outcome)


async def _wait(client: Client, answer: BatchAnswer[Any], outcome: _Outcome) -> None:
    assert answer.task is not None  # noqa: S101 - its caller has checked it
    snapshot = await answer.task.wait()
    outcome.good = snapshot.state is TaskState.SUCCEEDED
    outcome.line = {"index": answer.index, "id": snapshot.id, "state": snapshot.state.value}
    if outcome.good and snapshot.chunks is not None:
        outcome.line["chunks"] = [chunk async for chunk in client.task(snapshot.id).chunks()]
    else:
        outcome.line |= _members(snapshot)
    outcome.ready.set()


def _members(snapshot: TaskSnapshot) -> dict[str, object]:
    members = {"result": snapshot.result, "result_error": snapshot.result_error, "failure": snapshot.failure}
    return {name: value for name, value in members.items() if value is not None}


async def _write(receiver: ObjectReceiveStream[_Outcome], output: IO[str], progress: Progress, bar: Any) -> int:
    failed = 0
    async with receiver:
        async for outcome in receiver:
            await outcome.ready.wait()
            failed += not outcome.good
            output.write(json.dumps(outcome.line, ensure_ascii=False, separators=(",", ":")) + "\n")
            output.flush()
            progress.update(bar, advance=1, failed=failed)
    return failed


def _open(file: str) -> IO[bytes]:
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise unreadable(file, error) from error


async def _stdin_lines() -> AsyncIterator[bytes]:
    """The lines of standard input that are not blank, read in a thread that an interruption leaves behind."""
    while line := await run_sync(sys.stdin.buffer.readline, abandon_on_cancel=True):
        if line.strip():
            yield line.strip()


async def _file_lines(file: IO[bytes]) -> AsyncIterator[bytes]:
    for line in file:
        if line.strip():
            yield line.strip()


def _count(file: str) -> int | None:
    """The number of requests; `None` for what can be read only once."""
    if file == STDIN or not Path(file).is_file():
        return None
    with _open(file) as lines:
        return sum(1 for line in lines if line.strip())


def _output(files: ExitStack, out: str) -> IO[str]:
    if not out:
        return sys.stdout
    try:
        return files.enter_context(Path(out).open("w", encoding="utf-8"))
    except OSError as error:
        raise unreadable(out, error) from error
