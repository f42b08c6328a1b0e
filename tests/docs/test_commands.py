"""Commands on the pages: `hub` by its own parser, `make` by the Makefile, and the syntax of the rest by bash."""

from __future__ import annotations

import re
import subprocess

import pytest

from scripts.check_docs import pages
from tests.docs.blocks import ROOT, all_blocks, blocks_to_check
from tests.docs.shell import commands, refusal, script_of, spans, unknown_options

OTHER_PROGRAMS = {
    "docker": "there is no container engine; tests/deploy checks what the files say",
    "kind": "there is no cluster",
    "kubectl": "there is no cluster; tests/deploy checks the manifests",
    "deploy/kubernetes/overlays/trial/make-secrets.sh": "tests/deploy runs it",
    "cd": "changes a folder",
    "cp": "copies a file",
    "echo": "prints",
    "jq": "reads what the command before it prints",
    "npm": "tests/foreign installs the same packages",
    "node": "tests/foreign runs the model",
    "rabbitmqctl": "changes a node of RabbitMQ",
    "redis-cli": "tests/docs/test_servers.py runs it",
    "opentelemetry-instrument": "of a package that is not installed for the tests; tried by hand",
    "pytest": "tests/cli/test_new.py runs the tests of a new project",
    "promtool": "tests/observability runs it",
    "curl": "where it needs more than `hub up`; others are run",
}
"""Programs of blocks that are not run, each with the reason."""

BLOCKS = {block.id: block for block in blocks_to_check("commands")}
SHELL = {block.id: block for block in all_blocks() if block.is_shell}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_command_line_accepts_every_command_of_a_block(block: str) -> None:
    found = BLOCKS[block]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    ours = 0
    for program, *arguments in commands(script_of(found)):
        if program.removeprefix(".venv/bin/") == "hub":
            ours += 1
            assert refusal(arguments) == "", " ".join(arguments)
        elif program == "make":
            ours += 1
            assert {word for word in arguments if "=" not in word} <= targets, arguments
        else:
            assert program in OTHER_PROGRAMS, f"{program}: run it, or say why not"
    assert ours or found.is_shell


def test_every_reason_is_of_a_program_that_is_on_a_page() -> None:
    used = {program for block in BLOCKS.values() for program, *_ in commands(script_of(block))}

    assert sorted(OTHER_PROGRAMS.keys() - used) == []


@pytest.mark.parametrize("block", SHELL)
def test_bash_accepts_every_shell_block(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=SHELL[block].text, text=True, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


def test_options_of_commands_within_sentences_exist() -> None:
    unknown = {}
    for page in pages():
        if "decisions" in page.parts:
            continue  # they tell what was decided then
        found = [" ".join(span) for span in spans(page.read_text()) if unknown_options(span)]
        if found:
            unknown[page.name] = found

    assert unknown == {}


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("hub call", "MODEL"),
        ("hub call ModelA '{}' --tiemout 3", "--tiemout"),
        ("hub task --wait", "TASK"),
        ("hub dead replay", "MODEL"),
        ("hub up a:B --gateway-port soon", "gateway-port"),
    ],
)
def test_a_wrong_command_is_found(command: str, complaint: str) -> None:
    (found,) = commands(command)

    assert complaint.lower() in refusal(found[1:]).lower()


def test_commands_are_found_in_a_script() -> None:
    script = (
        "# first\nA=1 hub up a:B \\\n  --reload > log  # why\ncd x && hub call M '{\n}' | jq -r .a\nx=$(hub submit M)\n"
    )

    assert [tuple(each) for each in commands(script)] == [
        ("hub", "up", "a:B", "--reload"),
        ("cd", "x"),
        ("hub", "call", "M", "{\n}"),
        ("jq", "-r", ".a"),
        ("hub", "submit", "M"),
    ]


def test_an_unknown_option_within_a_sentence_is_found() -> None:
    page = "Use `hub up a:B --relaod` or `hub dead list --limit 3`, or `hub model X --instances N`.\n```\n`hub x --y`\n```\n"

    assert [unknown_options(span) for span in spans(page)] == [["--relaod"], [], []]
