"""The pages below a root path, behind a proxy that cuts it off and behind one that passes it on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from hub.web.charts import CHARTS
from tests.browser.conftest import EXAMPLES, Addresses, Browser, running_hub
from tests.browser.prefix_proxy import PrefixProxy, prefix_proxy
from tests.support.server import free_port

TIMEOUT = 20_000
"""Milliseconds: a browser on a busy machine is slow."""

PREFIX = "/teams/hub"

LINKS = """[...document.querySelectorAll('a, link, script[src], img, form')]
    .map((element) => element.getAttribute('href') ?? element.getAttribute('src') ?? element.getAttribute('action') ?? '')"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def rooted_hub() -> Iterator[Addresses]:
    with running_hub(EXAMPLES, free_port(), root_path=PREFIX) as addresses:
        yield addresses


@pytest.fixture(params=[True, False], ids=["cut off", "passed on"])
def proxy(rooted_hub: Addresses, request: pytest.FixtureRequest) -> Iterator[PrefixProxy]:
    """Fails a test that asked for anything outside of the prefix."""
    with prefix_proxy(rooted_hub.gateway, PREFIX, strip=request.param) as opened:
        yield opened
        assert opened.outside == []


def links(page: Page) -> list[str]:
    found: list[str] = page.evaluate(LINKS)
    return found


def astray(page: Page) -> list[str]:
    """The links of a page that lead out of the prefix."""
    return [link for link in links(page) if link.startswith("/") and not link.startswith(f"{PREFIX}/")]


def test_swagger_renders_and_calls_a_model(proxy: PrefixProxy, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{proxy.url}/docs")
    operation = page.locator("#operations-ModelA-callModelA")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    operation.locator(".body-param__text").fill('{"messages": "behind a proxy"}', timeout=TIMEOUT)
    operation.locator(".btn.execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").nth(1)).to_contain_text("200", timeout=TIMEOUT)
    expect(answer).to_contain_text("Processed message: behind a proxy", timeout=TIMEOUT)
    expect(operation.locator(".request-url")).to_contain_text(f"{proxy.url}/v1/models/ModelA")
    assert astray(page) == []


def test_the_dashboard_lives_and_leads_to_the_other_pages(proxy: PrefixProxy, browser: Browser) -> None:
    page = browser.page
    page.goto(proxy.url)
    expect(page.locator("#models tr")).to_have_count(2, timeout=TIMEOUT)
    expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)
    expect(page.locator(".chart canvas")).to_have_count(len(CHARTS))
    assert astray(page) == []
    page.locator("#models").get_by_role("link", name="ModelA").click()
    expect(page).to_have_url(f"{proxy.url}/models#ModelA")
    expect(page.locator("#ModelA tbody .badge")).to_have_text("live", timeout=TIMEOUT)
    expect(page.locator("#history tr", has_text="logged in").first).to_be_visible(timeout=TIMEOUT)
    assert astray(page) == []
    page.locator("#ModelA").get_by_role("link", name="API page").click()
    expect(page.locator("#operations-ModelA-callModelA")).to_be_visible(timeout=TIMEOUT)
    page.get_by_role("link", name="Dashboard").click()
    expect(page).to_have_url(f"{proxy.url}/")


def test_a_task_is_found_and_shown_to_its_end(proxy: PrefixProxy, browser: Browser) -> None:
    page = browser.page
    asked = Request(f"{proxy.url}/v1/models/ModelA/tasks", b'{"messages": "x"}', {"Content-Type": "application/json"})
    with urlopen(asked, timeout=30) as reply:
        task = json.load(reply)["id"]
        assert reply.headers["location"] == f"{PREFIX}/v1/tasks/{task}"
    page.goto(f"{proxy.url}/tasks")
    page.locator("#find").fill(task)
    page.locator("#find").press("Enter")
    expect(page).to_have_url(f"{proxy.url}/tasks/{task}")
    expect(page.locator("#state")).to_have_text("succeeded", timeout=TIMEOUT)
    expect(page.locator("#result-note")).to_contain_text(f"{PREFIX}/v1/tasks/{task}/result")
    page.locator("#facts").get_by_role("link", name="ModelA").click()
    expect(page).to_have_url(f"{proxy.url}/models#ModelA")
    assert astray(page) == []
