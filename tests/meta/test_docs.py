from __future__ import annotations

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
