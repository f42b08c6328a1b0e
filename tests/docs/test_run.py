"""The calls on the pages, made by bash, curl and `hub` to a running `hub up`; what they print is what the pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.browser.conftest import Addresses, running_hub
from tests.docs.blocks import ROOT, Block, all_blocks, blocks_to_check
from tests.support.server import free_port

MODELS = ("examples.model_a:ModelA", "examples.digits:Digits", "examples.writer:Writer")
PAGES = sorted({block.page for block in blocks_to_check("run")})
REQUEST = '{"messages":"hello"}\n'
FILES = {"request.json": REQUEST, "requests.ndjson": REQUEST * 3}
"""Files that the commands of the pages read."""

PREFACE = {
    "docs/cli.md": 'task=$(hub submit ModelA \'{"messages":"hello"}\' | sed \'s/.*"id":"\\([^"]*\\)".*/\\1/\')\n',
}
"""What a page takes for granted: an id to ask for."""

FAILING: Mapping[str, tuple[str, ...]] = {"docs/cli.md": ("hub cancel", "hub batch ModelA -")}
"""How commands begin that fail, by page: the task has ended before, a request is no ModelARequest."""

PROBLEMS: Mapping[tuple[str, str], str] = {
    ("README.md", "Send tasks"): "",
    ("docs/api.md", "Batches"): "",
    ("docs/cli.md", "Calling models"): "",
}
"""Sections with replies that are problems, by page and heading, with a code that each of their blocks prints, if any."""

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
_CHANGING = re.compile(
    rf"(?P<id>{_ID})|(?P<time>{_TIME})|(?P<more>(?:,?\.\.\.)|…)|(?P<number>id:\d+$)|(?P<word>\"text\":\"[^\"]*\")"
)


@dataclass(frozen=True, slots=True)
class Ran:
    """What the blocks of a page have printed, and their commands that have failed, by line."""

    outputs: Mapping[int, str] = field(default_factory=dict[int, str])
    failed: Mapping[int, str] = field(default_factory=dict[int, str])


@pytest.fixture(scope="module")
def hub_up() -> Iterator[Addresses]:
    with running_hub(MODELS, free_port()) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def ran(hub_up: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Ran]:
    """Each page in a folder and a shell of its own, its blocks in their order; they wait most of the time."""
    folders = [tmp_path_factory.mktemp("page") for _ in PAGES]
    with ThreadPoolExecutor() as pool:
        return dict(zip(PAGES, pool.map(run_page, PAGES, [hub_up] * len(PAGES), folders), strict=True))


def run_page(page: str, hub: Addresses, folder: Path) -> Ran:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    script = [PREFACE.get(page, "")]
    blocks = [block for block in blocks_to_check("run") if block.page == page]
    for block in blocks:
        script.append(f"trap 'echo \"$BASH_COMMAND\" >>failed-{block.line}' ERR\n: >failed-{block.line}\n")
        script.append(f"{{\n{_addressed(block, hub)}\n}} >out-{block.line} 2>&1\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HUB_GATEWAY_URL": hub.gateway,
        "HUB_REGISTRY_URL": hub.registry,
    }
    done = subprocess.run(
        ["bash"],
        input="".join(script),
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert done.stderr == ""
    return Ran(
        {block.line: (folder / f"out-{block.line}").read_text() for block in blocks},
        {block.line: (folder / f"failed-{block.line}").read_text() for block in blocks},
    )


def _addressed(block: Block, hub: Addresses) -> str:
    text = block.text.replace("http://127.0.0.1:8000", hub.gateway).replace("http://127.0.0.1:8001", hub.registry)
    if block.page in PREFACE:
        text = re.sub(rf"\b{_ID}\b", "$task", text)
    return text


def shown(expected: str) -> re.Pattern[str]:
    """A pattern for a block of output: blanks do not count, ids and times change, `...` is anything; lines may be left out."""

    def pattern(match: re.Match[str]) -> str:
        if match["more"]:
            return ".*?"
        return {"id": _ID, "time": _TIME, "number": r"id:\d+", "word": r'"text":"[^"]*"'}[str(match.lastgroup)]

    lines = []
    for line in expected.splitlines():
        bare = re.sub(r"\s", "", line)
        parts: list[str] = []
        end = 0
        for match in _CHANGING.finditer(bare):
            parts += re.escape(bare[end : match.start()]), pattern(match)
            end = match.end()
        lines.append("".join(parts) + re.escape(bare[end:]))
    return re.compile(".*?".join(line for line in lines if line), re.DOTALL)


RUN = {block.id: block for block in blocks_to_check("run")}
OUTPUT = {block.id: block for block in blocks_to_check("output")}


@pytest.mark.parametrize("block", RUN)
def test_the_commands_of_a_block_succeed(block: str, ran: Mapping[str, Ran]) -> None:
    found = RUN[block]
    output = ran[found.page].outputs[found.line]

    problem = (found.page, found.heading)
    failed = [line for line in ran[found.page].failed[found.line].splitlines() if line]
    assert [line for line in failed if not line.startswith(FAILING.get(found.page, ()))] == [], output
    assert PROBLEMS.get(problem, "") in output
    if problem not in PROBLEMS:
        assert '"type":"urn:hub:problem:' not in output


@pytest.mark.parametrize("block", OUTPUT)
def test_the_output_is_what_the_page_shows(block: str, ran: Mapping[str, Ran]) -> None:
    found = OUTPUT[block]
    output = ran[found.page].outputs[found.output_of]

    assert shown(found.text).search(re.sub(r"\s", "", output)), output


PROGRAMS = {block.id: block for block in blocks_to_check("python") if "async def main() -> None:" in block.text}


@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_runs_on_both_backends(block: str, hub_up: Addresses) -> None:
    """With the functions of its page that take a client, each called once."""
    page = [each for each in blocks_to_check("python") if each.page == PROGRAMS[block].page]
    text = PROGRAMS[block].text
    calls = ["await main()"]
    if PROGRAMS[block].page == "docs/client.md":
        text = "\n".join(each.text for each in page)
        calls.append("async with hub.Client() as client:")
        calls += [
            "    await write(client)",
            "    await submit_all(client, [ModelARequest(messages=text) for text in 'abc'])",
        ]
    lines = [*text.splitlines(), "async def all_of_it() -> None:", *(f"    {call}" for call in calls)]
    lines += ["import anyio", *(f"anyio.run(all_of_it, backend={backend!r})" for backend in ("asyncio", "trio"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(lines).replace("http://127.0.0.1:8000", hub_up.gateway)],
        env=environment | {"HUB_GATEWAY_URL": hub_up.gateway, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_page_with_calls_is_run(ran: Mapping[str, Ran]) -> None:
    assert {"README.md", "docs/api.md", "docs/cli.md"} <= ran.keys()
    assert sum(len(page.outputs) for page in ran.values()) == len(RUN)
    assert all(block.output_of in ran[block.page].outputs for block in all_blocks() if block.id in OUTPUT)


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ('{"a": "...", "b": 1}', '{"a":"x","b":1}', True),
        ('{"a": "...", "b": 1}', '{"a":"x","b":2}', False),
        ("location: /v1/tasks/01a2101a-52e0-7140-a2d4-a8dafe8cffc6", "x\nlocation: /v1/tasks/00000000-0000-7000-0000-000000000000", True),
        ("location: /v1/tasks/01a2101a-52e0-7140-a2d4-a8dafe8cffc6", "location: /v1/tasks/1", False),
        ("one\ntwo", "one\nbetween\ntwo", True),
        ("one\ntwo", "two\none", False),
    ],
)  # fmt: skip
def test_output_is_compared(expected: str, output: str, *, same: bool) -> None:
    assert bool(shown(expected).search(re.sub(r"\s", "", output))) is same
