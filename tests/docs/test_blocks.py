"""Each fenced block of the documentation has a check, or a reason why it has none."""

from __future__ import annotations

from collections import Counter

from tests.docs.blocks import ELSEWHERE, EXCUSED, PAGES_ELSEWHERE, ROOT, all_blocks, blocks_of, kind_of

CHECKS = {
    "run", "output", "python", "commands", "json", "yaml", "toml", "protobuf", "promql", "dockerfile", "nginx",
    "drawing", "elsewhere", "excused",
}  # fmt: skip
MOST_EXCUSED = 4
"""A new reason needs a place here: the fewer, the better."""


def test_every_block_has_a_check_or_a_reason() -> None:
    assert [f"{block.id} {block.first_line}" for block in all_blocks() if kind_of(block) not in CHECKS] == []


def test_reasons_are_of_blocks_that_exist() -> None:
    unused = [
        (page, begin)
        for page, begin in EXCUSED
        if not any(block.page == page and block.first_line.startswith(begin) for block in all_blocks())
    ]

    assert unused == []
    assert len(EXCUSED) <= MOST_EXCUSED


def test_sections_and_pages_that_are_run_elsewhere_have_their_test() -> None:
    existing = {(block.page, block.heading) for block in all_blocks()}
    tests = [(section in existing, test) for section, test in ELSEWHERE.items()]
    tests += [((ROOT / page).exists(), test) for page, test in PAGES_ELSEWHERE.items()]

    assert [test for there, test in tests if there is not (ROOT / test.split(" ")[0]).exists()] == []


def test_most_blocks_are_checked_here() -> None:
    counts = Counter(kind_of(block) for block in all_blocks())

    assert counts["run"] > 20
    assert counts["python"] > 15
    assert counts["commands"] > 20


def test_a_block_knows_its_page_language_heading_and_the_command_before_it() -> None:
    text = "# A\n```sh\nls\n```\n```json\n{}\n```\n## B\n* a list\n  ```python\n  if x:\n      y\n  ```\ntext\n```\nz\n```\n"

    shell, output, python, plain = blocks_of("a.md", text)

    assert (shell.language, shell.text, shell.line, shell.heading) == ("sh", "ls\n", 3, "")
    assert (output.output_of, plain.output_of) == (3, 0)
    assert (python.text, python.heading, python.id) == ("if x:\n    y\n", "B", "a.md:11")
    assert kind_of(plain) == ""
