"""The built site: complete, self-contained, and usable in a browser without a network."""

from __future__ import annotations

import functools
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect
from typing_extensions import override

from scripts.site import __main__ as program, llms
from scripts.site.built import complaints
from scripts.site.staging import navigation
from tests.browser.conftest import Browser, until
from tests.docs.blocks import ROOT


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
