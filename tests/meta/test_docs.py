from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import check_docs


def test_the_documentation_has_no_broken_link_or_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_docs.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("Run `make coffee` first.", "`make coffee`", id="target"),
        pytest.param("```\nmake coffee\n```", "`make coffee`", id="target in a block"),
        pytest.param("Run `hub dance --now`.", "`hub dance`", id="command"),
        pytest.param("```\n.venv/bin/hub dance\n```", "`hub dance`", id="command in a block"),
        pytest.param("Set HUB_STORE_ADDRESS.", "HUB_STORE_ADDRESS", id="variable"),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, complaint: str) -> None:
    (found,) = check_docs.unknown_names(text)

    assert complaint in found


def test_existing_names_are_accepted() -> None:
    text = "`make up`, `hub up pkg:Class`, `hub config show`, HUB_STORE_URL, HUB_TEST_AMQP_URL. To make hub shine."

    assert list(check_docs.unknown_names(text)) == []


def test_links_are_followed_to_the_heading(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = (
        "# A `code` title, really\n"
        "[a](#a-code-title-really) [b](other.md) [c](other.md#second) [d](https://example.invalid/)\n"
        "[e](gone.md) [f](#gone) [g](other.md#gone) `[h](in-code.md)`\n"
    )
    page.write_text(text)
    (tmp_path / "other.md").write_text("# First\n## Second\n")

    found = list(check_docs.broken_links(page, text))

    assert [complaint.split(":")[0].split(",")[0] for complaint in found] == [
        "link to gone.md",
        "link to #gone",
        "link to other.md#gone",
    ]


def test_each_statement_about_another_system_names_its_source() -> None:
    page = (check_docs.ROOT / "docs" / "comparison.md").read_text()
    sources = dict(re.findall(r"^\[([A-Z]-\w+)\]: (\S+)$", page, re.MULTILINE))
    used = set(re.findall(r"\]\[([A-Z]-\w+)\]", page))
    assert used == sources.keys()
    assert all(
        re.match(r"https://(github\.com/[\w.-]+/[\w.-]+/blob/[0-9a-f]{40}|docs\.ray\.io|lightning\.ai/docs)/", address)
        for address in sources.values()
    )

    (cells,) = re.findall(r"^\| \| hub \|.*\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    for row in cells.splitlines():
        _, _, _hub, *others = row.rstrip("|").split("|")
        assert all("][" in cell for cell in others if cell.strip()), row

    sections = re.split(r"^## ", page, flags=re.MULTILINE)[2:-1]
    assert len(sections) == 8
    for section in sections:
        statements = re.findall(r"^\* .*(?:\n  .*)*", section, re.MULTILINE)
        assert len(statements) >= 2, section
        assert all("][" in each or each.startswith("* Celery with FastAPI leaves to you") for each in statements), (
            section
        )
