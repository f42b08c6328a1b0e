"""`hub call`, `submit`, `task`, `cancel`, `stream` and `batch` as processes, over a gateway in this one."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import create_task_group, fail_after, run_process
from anyio.to_thread import run_sync

from tests.cli.results import CommandResult
from tests.client.models import Endless

HUB = str(Path(sys.executable).with_name("hub"))
TIMEOUT = 100.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The backend of the gateway. The commands are processes; some of them run on trio."""
    return "asyncio"


def environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_") and name != "NO_COLOR"}
    return kept | {"HUB_GATEWAY_URL": url}


async def hub(url: str, *arguments: str, text: str = "", backend: str = "asyncio") -> CommandResult:
    done = await run_process(
        [HUB, *arguments], input=text.encode(), check=False, env=environment(url) | {"HUB_BACKEND": backend}
    )
    return CommandResult(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


async def results(url: str, **commands: tuple[str, ...]) -> Mapping[str, CommandResult]:
    """What each of the commands came to, all run at the same time."""
    with fail_after(TIMEOUT):  # noqa: ASYNC100 - the end of the task group waits
        async with create_task_group() as tg:
            handles = {name: tg.start_soon(hub, url, *arguments) for name, arguments in commands.items()}
    return {name: handle.return_value for name, handle in handles.items()}


async def test_a_request_comes_from_an_argument_a_file_or_a_pipe(gateway_url: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"messages": "file"}')
    with fail_after(TIMEOUT):
        argument = await hub(gateway_url, "call", "Echo", '{"messages":"argument"}')
        file = await hub(gateway_url, "call", "Echo", f"@{tmp_path}/request.json", backend="trio")
        pipe = await hub(gateway_url, "call", "Echo", "-", text='{"messages":"pipe"}')
    assert [each.json["reply"] for each in (argument, file, pipe)] == ["argument", "file", "pipe"]
    assert {each.code for each in (argument, file, pipe)} == {0}
    assert argument.out == '{"reply":"argument"}\n'


async def test_a_failure_has_its_exit_code_and_reason(gateway_url: str) -> None:
    found = await results(
        gateway_url,
        failed=("call", "Echo", '{"messages":"!no sound"}'),
        model=("call", "Ech"),
        stream=("stream", "Count", '{"messages":"4 fail"}'),
    )
    assert {name: result.code for name, result in found.items()} == {"failed": 1, "model": 2, "stream": 1}
    assert "no sound" in found["failed"].err
    assert "did you mean 'Echo'" in found["model"].err
    assert found["stream"].out.count("chunk") == 2
    assert all(len(result.err.splitlines()) <= 3 and "Traceback" not in result.err for result in found.values()), found


async def test_a_task_is_submitted_shown_and_cancelled(gateway_url: str) -> None:
    with fail_after(TIMEOUT):
        task = (await hub(gateway_url, "submit", "Echo", '{"messages":"0.2"}')).json["id"]
        endless = (await hub(gateway_url, "submit", "Endless", "--timeout", "300")).json["id"]
        waited = await hub(gateway_url, "task", task, "--wait")
    shown = await results(gateway_url, running=("task", endless), ended=("cancel", task))
    with fail_after(TIMEOUT):
        cancelled = await hub(gateway_url, "cancel", endless, backend="trio")
        after = await hub(gateway_url, "task", endless, "--wait")
    assert (waited.code, waited.json["state"], waited.json["result"]) == (0, "succeeded", {"reply": "0.2"})
    assert (shown["running"].code, shown["running"].json["id"]) == (0, endless)
    assert (shown["ended"].code, shown["ended"].json["state"]) == (1, "succeeded")
    assert (cancelled.code, cancelled.json["state"]) == (0, "cancelled")
    assert (after.code, after.json["failure"]["code"]) == (1, "cancelled")


async def test_an_interrupted_call_cancels_its_task(gateway_url: str) -> None:
    runs, left = Endless.runs, Endless.left
    with fail_after(TIMEOUT):
        async with await anyio.open_process([HUB, "call", "Endless"], env=environment(gateway_url)) as process:
            while Endless.runs == runs:
                await anyio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            code = await process.wait()
        while Endless.left == left:
            await anyio.sleep(0.02)
    assert code == 1


async def test_chunks_are_lines_and_a_further_attempt_is_one(gateway_url: str) -> None:
    with fail_after(TIMEOUT):
        done = await hub(gateway_url, "stream", "Count", '{"messages":"3 retry"}')
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"id": "1-1", "chunk": {"reply": "1-1"}},
        {"id": "1-2", "chunk": {"reply": "1-2"}},
        {"restarted": {"attempt": 2}},
        *({"id": f"2-{number}", "chunk": {"reply": f"2-{number}"}} for number in (1, 2, 3)),
    ]


async def test_a_batch_has_a_line_for_each_request_in_order(gateway_url: str, tmp_path: Path) -> None:
    requests = [f'{{"messages":"n{number}"}}' for number in range(200)]
    requests[3:5] = ['{"mesages":1}', "", '{"messages":"!no"}']
    file, out = tmp_path / "requests.ndjson", tmp_path / "out.ndjson"
    file.write_text("\n".join(requests))
    found = await results(
        gateway_url,
        all=("batch", "Echo", str(file), "--out", str(out)),
        ids=("batch", "Echo", str(file), "--no-wait"),
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(200))
    assert lines[3]["error"]["code"] == "invalid_document"
    assert lines[4]["failure"]["message"] == "no"
    assert lines[199]["result"] == {"reply": "n199"}
    assert sum(line.get("state") == "succeeded" for line in lines) == 198
    assert (found["all"].code, found["all"].out) == (1, "")
    assert found["ids"].out.count('"id"') == 199
    with fail_after(TIMEOUT):
        piped = await hub(gateway_url, "batch", "Count", "-", text='{"messages":"2"}\n')
    assert (piped.code, piped.json["chunks"]) == (0, [{"reply": "1-1"}, {"reply": "1-2"}])


def on_a_terminal(url: str, *arguments: str, **variables: str) -> str:
    """The output of a command whose standard output is a terminal."""
    here, there = pty.openpty()
    command = subprocess.Popen(
        [HUB, *arguments], stdout=there, env=environment(url) | {"TERM": "xterm-256color"} | variables
    )
    os.close(there)
    content = b""
    with suppress(OSError):  # the end of a terminal is an error
        while part := os.read(here, 65536):
            content += part
    os.close(here)
    assert command.wait(TIMEOUT) == 0
    return content.decode()


async def test_a_terminal_gets_text_in_colours_unless_they_are_not_wanted(gateway_url: str) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    call = ("call", "Echo", '{"messages":"seen"}')
    with fail_after(TIMEOUT):
        coloured = await run_sync(partial(on_a_terminal, gateway_url, *call))
        plain = await run_sync(partial(on_a_terminal, gateway_url, *call, NO_COLOR="1"))
        document = await run_sync(partial(on_a_terminal, gateway_url, *call, "--json"))
        task = (await hub(gateway_url, "submit", "Echo", '{"messages":"x"}')).json["id"]
        table = await run_sync(partial(on_a_terminal, gateway_url, "task", task, "--wait"))
    assert colour.search(coloured)
    assert "seen" in plain
    assert not colour.search(plain)
    assert document == '{"reply":"seen"}\r\n'
    assert "succeeded" in table
    assert "kept until" in table
