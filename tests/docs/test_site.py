"""The built site: complete, self-contained, and usable in a browser without a network."""

from __future__ import annotations

import functools
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from playwright.sync_api import expect
from typing_extensions import override

from scripts.site import __main__ as program, llms
from scripts.site.built import complaints
from scripts.site.staging import documents, navigation
from tests.browser import conftest as browsers
from tests.browser.conftest import Browser, until
from tests.docs.blocks import ROOT

browser = browsers.browser
"""The fixture, in this module too."""


@pytest.fixture(scope="module")
def built() -> Path:
    """The site, built as `make site` builds it."""
    subprocess.run([ROOT / "scripts" / "install-docs.sh"], check=True)
    assert program.build() == 0
    return program.OUT


class _Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(built))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(built: Path) -> None:
    places = [entry.place for entry in llms.entries(navigation())]
    pages = [built / place.replace("README.md", "index.md").replace(".md", ".html") for place in places]

    assert [page.name for page in pages if not page.exists()] == []
    assert len(list((built / "decisions").glob("[0-9]*.html"))) == len(
        list((ROOT / "docs/decisions").glob("[0-9]*.md"))
    )
    assert list(complaints(built)) == []


_PARTS = {
    "list_item_open": "li",
    "fence": "pre",
    "table_open": "table",
    "tr_open": "tr",
    "ordered_list_open": "ol",
    "bullet_list_open": "ul",
    "strong_open": "strong",
    "em_open": "em",
    "image": "img",
}
"""What a page is made of: tokens of CommonMark -> elements of HTML."""


class _Article(HTMLParser):
    """Counts the elements of the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._inside = False
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = self._inside or tag == "article"
        if self._inside and (tag in _PARTS.values() or re.fullmatch(r"h[1-6]", tag)):
            self.found[tag] += 1

    @override
    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "article"


def parts(tokens: Iterable[Token]) -> Counter[str]:
    found: Counter[str] = Counter()
    for token in tokens:
        found.update(
            [token.tag] if token.type == "heading_open" else [_PARTS[token.type]] if token.type in _PARTS else []
        )
        found += parts(token.children or ())
    return found


def test_pages_have_the_same_parts_as_on_a_forge(built: Path) -> None:
    """Forges follow CommonMark; the generator reads lists and code in its own way."""
    parser = MarkdownIt("commonmark").enable("table")
    different = {}
    for path, place in documents().items():
        html = built / re.sub(r"README\.md$", "index.md", place).replace(".md", ".html")
        text = (ROOT / path).read_text() + (
            "\n[All decisions](README.md)\n" if re.match(r"decisions/\d", place) else ""
        )
        wanted, found = parts(parser.parse(text)), _Article(html.read_text()).found
        if wanted != found:
            different[path] = {tag: (wanted[tag], found[tag]) for tag in wanted | found if wanted[tag] != found[tag]}

    assert different == {}


def test_language_models_find_an_index_and_every_page_as_markdown(built: Path) -> None:
    index = (built / "llms.txt").read_text()
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)", index, re.MULTILINE)

    assert index.startswith("# hub\n\n> ")
    assert len(links) == len(list(llms.entries(navigation())))
    assert [link for link in links if not (built / link).read_text().strip()] == []
    assert "# Settings" in (built / "llms-full.txt").read_text()


def test_references_are_those_of_the_code(built: Path) -> None:
    reference = {path.stem: path.read_text() for path in (built / "reference").glob("*.html")}

    assert "gateway_port" in reference["settings"]
    assert "queue_full" in reference["errors"]
    assert "--contract-mode" in reference["commands"]
    assert "/v1/tasks/{task_id}" in reference["gateway"]
    assert "/v1/instances" in reference["registry"]
    assert "process_batch" in reference["hub"]
    assert "retry_for" in reference["hub.client"]
    assert "redeliver" in reference["hub.testing"]


PAGES = (
    "index",
    "architecture",
    "how-to/proxy",
    "how-to/gpu",
    "reference/settings",
    "reference/hub",
    "decisions/index",
)


@pytest.mark.parametrize(
    "browser", [("light", (1280, 900)), ("dark", (400, 900))], indirect=True, ids=["light", "dark"]
)
def test_pages_fit_their_window_and_need_no_network(browser: Browser, address: str) -> None:
    for page in PAGES:
        browser.page.goto(f"{address}/{page}.html")
        until(browser.page, "document.readyState === 'complete'")
        assert browser.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page
        assert browser.page.locator("h1").first.inner_text()
        if page == "architecture":
            until(browser.page, "document.querySelectorAll('pre.diagram > svg').length >= 4")


def test_the_search_finds_a_setting_without_a_network(browser: Browser, address: str) -> None:
    browser.page.goto(f"{address}/index.html")
    until(browser.page, "document.readyState === 'complete'")
    box = browser.page.get_by_role("combobox", name="Search")
    while not box.is_visible():  # a click before the script of the page runs has no effect
        browser.page.locator(".md-search__button").click()
        browser.page.wait_for_timeout(200)
    box.fill("cancel_on_disconnect")

    expect(browser.page.locator("a[href*='reference/settings.html']").last).to_be_visible(timeout=30_000)
