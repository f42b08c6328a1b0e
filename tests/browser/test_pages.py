"""The pages in a real browser, with no way out of this machine."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from examples.digits import Digits
from examples.digits.pictures import split
from examples.model_a import ModelA
from hub.types import new_task_id
from hub.web.charts import CHARTS
from tests.browser.conftest import Addresses, Browser

TIMEOUT = 20_000
"""Milliseconds: a browser on a busy machine is slow."""

pytestmark = pytest.mark.timeout(300)

LOOKS = [
    pytest.param(("light", (1280, 900)), id="light-desktop"),
    pytest.param(("dark", (1280, 900)), id="dark-desktop"),
    pytest.param(("light", (390, 844)), id="light-phone"),
    pytest.param(("dark", (390, 844)), id="dark-phone"),
]


def test_swagger_lists_both_models_with_their_real_fields(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.docs)
    for model, field in (("ModelA", "messages"), ("Digits", "pixels")):
        operation = page.locator(f"#operations-{model}-call{model}")
        operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
        expect(operation.locator(".body-param__text")).to_contain_text(field, timeout=TIMEOUT)
    answers = page.locator("#operations-Digits-callDigits .responses-table").first
    expect(answers).to_contain_text("probabilities", timeout=TIMEOUT)


def test_try_it_out_gets_the_models_answer(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.docs)
    operation = page.locator("#operations-ModelA-callModelA")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    operation.locator(".body-param__text").fill('{"messages": "from the page"}', timeout=TIMEOUT)
    operation.locator(".btn.execute").click()
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").nth(1)).to_contain_text("200", timeout=TIMEOUT)
    expect(answer).to_contain_text("Processed message: from the page", timeout=TIMEOUT)


def test_the_example_on_the_page_is_a_real_digit_that_the_model_recognises(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.docs)
    operation = page.locator("#operations-Digits-callDigits")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    operation.locator(".btn.execute").click()  # as it stands: what is sent is the model's own example
    answer = operation.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").nth(1)).to_contain_text("200", timeout=TIMEOUT)
    _, held_out = split()
    expect(answer).to_contain_text(f'"label": {held_out.labels[0]}', timeout=TIMEOUT)


def test_the_page_offers_the_streams_that_the_description_has_beside_the_content(
    hub_up: Addresses, browser: Browser
) -> None:
    page = browser.page
    page.goto(hub_up.docs)
    operation = page.locator("#operations-tasks-streamChunks")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    offered = operation.locator(".responses-wrapper select").first
    expect(offered).to_contain_text("text/event-stream", timeout=TIMEOUT)
    assert offered.locator("option").all_text_contents() == [
        *("application/json", "text/event-stream", "application/x-ndjson")
    ]


def test_a_bad_request_is_explained_on_the_page(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.docs)
    operation = page.locator("#operations-Digits-submitDigits")
    operation.locator(".opblock-summary-control").click(timeout=TIMEOUT)
    operation.locator(".body-param__text").fill('{"pixels": ["white"]}', timeout=TIMEOUT)
    operation.locator(".btn.execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text("/pixels/0", timeout=TIMEOUT)
    browser.complaints.clear()  # browsers log each reply with an error status


def test_the_registry_has_the_same_page(hub_up: Addresses, browser: Browser) -> None:
    browser.page.goto(f"{hub_up.registry}/docs")
    expect(browser.page.locator("body")).to_contain_text("/v1/instances", timeout=TIMEOUT)


@pytest.mark.parametrize("browser", LOOKS, indirect=True)
def test_the_dashboard_shows_the_models_at_any_width(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.dashboard)
    expect(page.locator("#models tr")).to_have_count(2, timeout=TIMEOUT)
    expect(page.locator("#models")).to_contain_text("Digits")
    expect(page.locator("#models")).to_contain_text("ModelA")
    expect(page.locator("thead th").last).to_have_text("Dead letters")
    expect(page.locator("#models tr").first.locator("td").last).to_have_text("0", timeout=TIMEOUT)
    expect(page.locator("#active")).to_have_text("2")
    expect(page.locator("#status")).to_have_text("Live")
    expect(page.locator(".chart canvas")).to_have_count(len(CHARTS))
    expect(page.get_by_role("link", name="API")).to_have_attribute("href", "/docs")
    for path in ("/", "/models", "/tasks", f"/tasks/{new_task_id()}", "/docs"):
        page.goto(hub_up.dashboard + path)
        if path == "/docs":
            expect(page.locator(".opblock").first).to_be_visible(timeout=TIMEOUT)
        else:
            expect(page.locator("#status")).not_to_have_text("Connecting", timeout=TIMEOUT)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    browser.complaints.clear()  # browsers log the 404 of the task that is not there


def test_the_page_of_models_says_how_many_tasks_an_instance_processes(hub_up: Addresses, browser: Browser) -> None:
    browser.page.goto(f"{hub_up.dashboard}/models")
    batches = f"a batch of up to {Digits.max_batch_size} tasks"
    expect(browser.page.locator("#Digits .contract")).to_contain_text(batches, timeout=TIMEOUT)
    expect(browser.page.locator("#ModelA .contract")).to_contain_text(f"{ModelA.concurrency} tasks at a time")


def test_the_gateway_shows_the_dashboard_too(hub_up: Addresses, browser: Browser) -> None:
    browser.page.goto(hub_up.gateway)
    expect(browser.page.locator("#models tr")).to_have_count(2, timeout=TIMEOUT)
