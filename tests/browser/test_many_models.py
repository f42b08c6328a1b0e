"""The pages of a hub with more models than fit on one page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Addresses, Browser, running_hub
from tests.browser.many import NAMES
from tests.support.server import free_port

TIMEOUT = 30_000
"""Milliseconds: a browser on a busy machine is slow."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def many() -> Iterator[Addresses]:
    with running_hub([f"tests.browser.many:{name}" for name in NAMES], free_port()) as addresses:
        yield addresses


def test_the_dashboard_shows_a_page_of_the_models_and_the_totals_of_all(many: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(many.dashboard)
    rows = page.locator("#models tr")
    expect(rows).to_have_count(50, timeout=TIMEOUT)
    expect(page.locator("#active")).to_have_text("55", timeout=TIMEOUT)
    expect(page.locator("#pager [role=status]")).to_have_text("1 to 50 of 55")
    page.get_by_role("button", name="Next").click()
    expect(rows).to_have_count(5, timeout=TIMEOUT)
    expect(rows.first).to_contain_text("Many50")
    assert page.evaluate("window.hubCharts.instances.lines.map((line) => line.name)") == NAMES[50:]
    assert page.evaluate("window.hubCharts.models.lines[0].values.at(-1)") == 55
    page.get_by_label("Filter models by name").fill("many1")
    expect(rows).to_have_count(10, timeout=TIMEOUT)
    expect(page.locator("#pager [role=status]")).to_have_text("1 to 10 of 10")
    expect(page.locator("#active")).to_have_text("55")


def test_the_models_page_goes_to_the_page_of_the_model_in_its_address(many: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{many.dashboard}/models#Many52")
    expect(page.locator("#Many52")).to_be_in_viewport(timeout=TIMEOUT)
    expect(page.locator("#models > section")).to_have_count(5)
    page.get_by_label("Filter models by name").fill("Many01")
    expect(page.locator("#models > section")).to_have_count(1, timeout=TIMEOUT)


def test_the_api_page_lists_the_models_and_each_has_a_page_to_try_it_out(many: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(many.docs)
    listed = page.locator("#listed li")
    expect(listed).to_have_count(50, timeout=TIMEOUT)
    expect(page.locator("#operations-system-showOverview")).to_be_visible(timeout=TIMEOUT)  # belongs to no model
    page.get_by_label("Filter models by name").fill("54")
    expect(listed).to_have_count(1, timeout=TIMEOUT)
    listed.get_by_role("link").click()
    operation = page.locator("#operations-Many54-callMany54")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    operation.locator(".body-param__text").fill('{"messages": "here"}', timeout=TIMEOUT)
    operation.locator(".btn.execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text("processed here", timeout=TIMEOUT)
    page.get_by_role("link", name="All models").click()
    expect(listed).to_have_count(50, timeout=TIMEOUT)


def test_a_link_to_a_model_leads_to_its_page(many: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{many.docs}#/Many07")
    expect(page.locator("#operations-Many07-callMany07")).to_be_visible(timeout=TIMEOUT)
    assert "model=Many07" in page.url
