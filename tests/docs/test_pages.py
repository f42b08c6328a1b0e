"""What the site is made of: navigation, links, lists, the index for language models; without the generator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from scripts.site import llms
from scripts.site.built import complaints
from scripts.site.links import Links, line_of, source_page
from scripts.site.markdown import for_python_markdown
from scripts.site.sources import pages_of_sources
from scripts.site.staging import documents, navigation
from tests.docs.blocks import ROOT

GENERATED = {
    "reference/hub.md",
    "reference/hub.client.md",
    "reference/hub.testing.md",
    "reference/settings.md",
    "reference/errors.md",
    "reference/commands.md",
    "reference/gateway.md",
    "reference/registry.md",
}


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    """A new page in docs/ needs a place in `nav` of zensical.toml; decisions are listed by their index."""
    listed = [entry.place for entry in llms.entries(navigation())]
    pages = {place for place in documents().values() if not re.match(r"decisions/\d", place)}

    assert sorted((pages | GENERATED) - set(listed)) == []
    assert sorted(set(listed) - pages - GENERATED) == []
    assert len(listed) == len(set(listed))


def test_every_page_is_linked_from_the_index_of_the_docs() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs/index.md").read_text()))
    pages = {place for place in documents().values() if not re.match(r"decisions/\d|project/|index\.md", place)}

    assert sorted(pages - linked) == []


def test_every_decision_is_in_its_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()

    assert [path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md") if f"]({path.name})" not in index] == []


def test_links_lead_to_the_same_things_on_the_site() -> None:
    links = Links()
    text = (
        "[a](tasks.md#what) [b](../CHANGELOG.md) [c](#here) [d](https://example.com/x.md) [e](decisions/README.md)\n"
        "[`run_model`](../src/hub/model/model.py) [`Model.setup`](../src/hub/model/model.py) ![i](images/task.png)\n"
        "```\n[f](../gone.md)\n```\n[g](../examples/node)\n"
    )

    found = links.rewritten(text, page="docs/models.md", place="models.md")

    line = line_of(ROOT / "src/hub/model/model.py", "Model.setup")
    assert line > 0
    assert found == (
        "[a](tasks.md#what) [b](project/changelog.md) [c](#here) [d](https://example.com/x.md) [e](decisions/README.md)\n"
        "[`run_model`](source/src/hub/model/model.py.md) "
        f"[`Model.setup`](source/src/hub/model/model.py.md#__span-0-{line}) ![i](images/task.png)\n"
        "```\n[f](../gone.md)\n```\n[g](source/examples/node.md)\n"
    )
    assert links.sources == {"src/hub/model/model.py", "examples/node"}


def test_pages_of_the_project_lead_back_into_the_docs() -> None:
    found = Links().rewritten("[a](docs/cli.md#output)", page="CHANGELOG.md", place="project/changelog.md")

    assert found == "[a](../cli.md#output)"


def test_a_folder_is_a_page_with_links_to_its_files() -> None:
    pages = pages_of_sources(Links({"examples/node"}))

    assert "[word_count.mjs](node/word_count.mjs.md)" in pages[source_page("examples/node")]
    assert "``````javascript" in pages[source_page("examples/node/word_count.mjs")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("text\n* a\n  b\n", "text\n\n* a\n    b\n", id="a list after a paragraph"),
        pytest.param(
            "1. a\n\n   ```sh\n   ls\n     x\n   ```\n\nb\n",
            "1. a\n\n    ```sh\n    ls\n      x\n    ```\n\nb\n",
            id="code",
        ),
        pytest.param("* a\n  * b\n    c\n* d\n", "* a\n    * b\n        c\n* d\n", id="nested"),
        pytest.param("```\n* a\n  b\n```\n", "```\n* a\n  b\n```\n", id="code alone"),
        pytest.param(
            "* a\n  ```\n  x\n  ```\n* b\n", "* a\n\n    ```\n    x\n    ```\n\n* b\n", id="code between items"
        ),
        pytest.param("| a |\n|---|\n| b |\n", "| a |\n|---|\n| b |\n", id="table"),
    ],
)
def test_lists_are_indented_for_the_generator(text: str, expected: str) -> None:
    assert for_python_markdown(text) == expected


def test_what_the_generator_reads_means_the_same() -> None:
    """By CommonMark, pages have the same parts before and after."""
    parser = MarkdownIt("commonmark").enable("table")
    for path in documents():
        text = (ROOT / path).read_text()
        before, after = (
            [
                (token.type, token.info)
                for token in parser.parse(each)
                if token.type not in {"paragraph_open", "paragraph_close"}
            ]
            for each in (text, for_python_markdown(text))
        )
        assert before == after, path


def test_the_index_has_the_form_of_llmstxt() -> None:
    nav = [{"Start": ["index.md", {"Tasks": "tasks.md"}]}, {"Project": [{"Log": "log.md"}]}]
    pages = {
        "index.md": "# hub, *first*\n\nIt serves [models](models.md).\nFast.\n\n## More\n",
        "tasks.md": "# X\n\n| a |\n|---|\n\n" + "A sentence. " * 30,
        "log.md": "# Y\n\n```\n",
    }

    found = llms.index("hub", "A hub.", nav, pages).splitlines()

    assert found[:3] == ["# hub", "", "> A hub."]
    assert found[found.index("## Start") + 2] == "- [hub, first](index.md): It serves models. Fast."
    assert found[found.index("## Start") + 3].startswith("- [Tasks](tasks.md): A sentence. A sentence.")
    assert max(len(line) for line in found) < llms.LONGEST + 60
    assert found[-3:] == ["## Optional", "", "- [Log](log.md)"]
    assert "# X" in llms.full(nav, pages)
    assert "# Y" not in llms.full(nav, pages)


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        ('<script src="https://cdn.example.com/a.js"></script>', "loads https://cdn.example.com/a.js"),
        ('<link rel="stylesheet" href="//fonts.example.com/a.css">', "loads //fonts.example.com/a.css"),
        ('<link rel="preconnect" href="https://fonts.example.com">', "loads https://fonts.example.com"),
        ('<img src="gone.png">', "loads gone.png, which is not there"),
        ('<img srcset="https://i.example.com/a.png 2x" src="">', "loads https://i.example.com/a.png"),
        ("<style>@import 'https://s.example.com/a.css';</style>", "loads https://s.example.com/a.css"),
        ('<p style="background: url(https://s.example.com/a.png)">', "loads https://s.example.com/a.png"),
        ('<a href="gone.html">', "links to gone.html, which is not there"),
        ('<a href="other.html#gone">', "links to other.html#gone: the page has no such heading"),
        ('<a href="#gone">', "links to #gone: the page has no such heading"),
        ('<a href="other.html#there">', ""),
        ('<a href="https://example.com/"><a href="mailto:a@example.com">', ""),
    ],
)
def test_what_a_built_page_must_not_have_is_found(html: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html)
    (tmp_path / "other.html").write_text('<h2 id="there">')

    assert list(complaints(tmp_path)) == ([f"page.html: {complaint}"] if complaint else [])


def test_a_style_that_loads_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('@font-face { src: url("https://fonts.example.com/a.woff2") }')

    assert list(complaints(tmp_path)) == ["a.css: loads https://fonts.example.com/a.woff2"]
