"""The commands `hub call|submit|task|cancel|stream`. Each returns `EXIT_OK`, or `EXIT_PARTIAL` for a task without a result."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from hub.cli.command import EXIT_OK, EXIT_PARTIAL
from hub.cli.terminal import console, one_line, printable
from hub.client.client import Client
from hub.client.snapshot import TaskSnapshot
from hub.errors import ConfigurationError
from hub.types import ModelName, TaskState

STDIN: Final = "-"


async def call_model(
    client: Client, *, model: ModelName, request: str, options: Mapping[str, Any], json_wanted: bool
) -> int:
    """Prints the response."""
    print_json(await client.call(model, read_request(request), **options), json_wanted=json_wanted)
    return EXIT_OK


async def submit_task(
    client: Client, *, model: ModelName, request: str, options: Mapping[str, Any], json_wanted: bool
) -> int:
    """Prints the id."""
    handle = await client.submit(model, read_request(request), **options)
    if for_people(json_wanted):
        console().print(f"{handle.id}\n`hub task {handle.id} --wait` shows its outcome", soft_wrap=True)
    else:
        write_line({"id": handle.id, "model": model})
    return EXIT_OK


async def show_task(client: Client, *, task: str, wait: bool, json_wanted: bool) -> int:
    """Prints the task as it is, or with `wait` as it is at its end; its progress meanwhile goes to a terminal on stderr."""
    handle = client.task(task)
    snapshot = await handle.status()
    if wait and not snapshot.state.terminal:
        with Console(stderr=True).status("") as status:
            async with handle.events() as events:
                async for change in events:
                    status.update(Text(_progress(change)))
        snapshot = await handle.status()
    return _print_task(snapshot, json_wanted=json_wanted)


async def cancel_task(client: Client, *, task: str, json_wanted: bool) -> int:
    """Prints the task."""
    snapshot = await client.task(task).cancel()
    cancelled = snapshot.state is TaskState.CANCELLED
    if for_people(json_wanted):
        text = "cancelled" if cancelled else f"not cancelled: it had ended before, {snapshot.state}"
        console().print(f"{snapshot.id}  {text}", soft_wrap=True)
    else:
        write_line(_members(snapshot))
    return EXIT_OK if cancelled else EXIT_PARTIAL


async def stream_chunks(
    client: Client, *, model: ModelName, request: str, options: Mapping[str, Any], json_wanted: bool
) -> int:
    """Prints each chunk as it comes."""
    people = for_people(json_wanted)

    def restarted(attempt: int) -> None:
        if people:
            Console(stderr=True).print(f"attempt {attempt} has begun: the chunks so far are void", style="yellow")
        else:
            write_line({"restarted": {"attempt": attempt}})

    async with client.stream(model, read_request(request), on_restart=restarted, **options) as chunks:
        async for chunk in chunks:
            if people:
                console().print(printable(_compact(chunk)), soft_wrap=True)
            else:
                write_line({"id": f"{chunks.attempt}-{chunks.number}", "chunk": chunk})
    return EXIT_OK


def for_people(json_wanted: bool) -> bool:  # noqa: FBT001 - an option of the command line
    """Whether the output goes to a terminal, as text."""
    return not json_wanted and sys.stdout.isatty()


def read_request(text: str) -> bytes:
    """The request that an argument stands for.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    if text == STDIN:
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    return opened(text[1:])


def opened(path: str) -> bytes:
    """The content of a file. Raises `ConfigurationError` if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> ConfigurationError:
    """The error for a file that an argument names."""
    return ConfigurationError(f"{path!r} cannot be used: {error.strerror}; name a file, or - for standard input")


def print_json(value: object, *, json_wanted: bool) -> None:
    """JSON in colours and indented on a terminal, otherwise on one line."""
    if for_people(json_wanted):
        console().print(JSON(printable(json.dumps(value, ensure_ascii=False, indent=2)), indent=2), soft_wrap=True)
    else:
        write_line(value)


def write_line(value: object) -> None:
    """One line of JSON on standard output, at once."""
    sys.stdout.write(_compact(value) + "\n")
    sys.stdout.flush()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _print_task(snapshot: TaskSnapshot, *, json_wanted: bool) -> int:
    if for_people(json_wanted):
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in _rows(snapshot):
            table.add_row(name, Text(printable(value)))
        console().print(table)
        if snapshot.result is not None:
            print_json(snapshot.result, json_wanted=False)
    else:
        write_line(_members(snapshot))
    ended_badly = snapshot.state.terminal and snapshot.state is not TaskState.SUCCEEDED
    return EXIT_PARTIAL if ended_badly else EXIT_OK


def _members(snapshot: TaskSnapshot) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(snapshot).items() if value is not None}


def _rows(snapshot: TaskSnapshot) -> Iterator[tuple[str, str]]:
    yield "task", snapshot.id
    yield "model", snapshot.model
    yield "state", snapshot.state
    if snapshot.attempt:
        yield "attempt", f"{snapshot.attempt}" + (f", on {snapshot.instance}" if snapshot.instance else "")
    for name, moment in (
        ("created", snapshot.created_at),
        ("started", snapshot.started_at),
        ("finished", snapshot.finished_at),
        ("deadline", snapshot.deadline),
        ("next attempt", snapshot.retry_at),
        ("kept until", snapshot.expires_at),
    ):
        if moment is not None:
            yield name, _moment(moment)
    if snapshot.progress is not None and not snapshot.state.terminal:
        yield "progress", _progress(snapshot)
    if snapshot.chunks is not None:
        yield "chunks", f"{snapshot.chunks}"
    if snapshot.parent is not None:
        yield "called by", snapshot.parent
    problem = snapshot.failure or snapshot.result_error
    if problem:
        kind = f"{problem['type']}: " if problem.get("type") else ""
        yield "failure" if snapshot.failure else "result", f"{problem.get('code')}: {kind}{problem.get('message')}"


def _progress(snapshot: TaskSnapshot) -> str:
    parts = [str(snapshot.state)]
    if snapshot.progress is not None:
        if snapshot.progress.fraction is not None:
            parts.append(f"{snapshot.progress.fraction:.0%}")
        parts.append(one_line(snapshot.progress.message))
    if snapshot.chunks:
        parts.append(f"{snapshot.chunks} chunks")
    return "  ".join(filter(None, parts))


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
