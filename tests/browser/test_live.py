"""The pages while things happen: registry, gateway and instances as processes of their own, RabbitMQ and Redis between."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Browser, until
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.system.processes import HubProcess, hub_process

TIMEOUT = 60_000
"""Milliseconds: everything here runs at once, on a machine with two cores."""

ECHO = "tests.system.models:Echo"

pytestmark = pytest.mark.timeout(300)

NOTE_WHEN = """([selector, wanted]) => { window.seen = new Promise((resolve) => {
    const look = () => Boolean(document.querySelector(selector)) === wanted && resolve(Date.now());
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
    look(); }); }"""
"""Notes the moment in which something is first on the page, or off it."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A registry and a gateway, with a ping period of one second."""

    url: str
    settings: dict[str, str]

    @contextmanager
    def instance(self) -> Generator[HubProcess]:
        with hub_process(["hub.model", ECHO], self.settings) as process:
            yield process

    def submit(self, messages: str, count: int = 1) -> str:
        """Gives Echo tasks; returns the id of the last."""
        return [self._submit(messages) for _ in range(count)][-1]

    def _submit(self, messages: str) -> str:
        request = Request(
            f"{self.url}/v1/models/Echo/tasks",
            data=json.dumps({"messages": messages}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as reply:
            return str(json.load(reply)["id"])

    def instances(self) -> list[dict[str, str]]:
        with urlopen(f"{self.url}/v1/instances", timeout=30) as reply:
            listed: list[dict[str, str]] = json.load(reply)["instances"]
        return listed


@pytest.fixture(scope="module")
def hub(amqp_url: str, redis_url: str) -> Iterator[Hub]:
    database = emptied(redis_url, 11)
    delete_queues(amqp_url, "Echo")
    common = {"broker_url": amqp_url, "ping_period": "1"}
    registry_settings = common | {"directory_url": database, "registry_port": "0", "ping_timeout": "0.9"}
    with hub_process(["hub.registry"], registry_settings) as registry:
        settings = common | {"registry_url": str(registry.wait_for("is up")["url"]), "store_url": database}
        with hub_process(["hub.gateway"], settings | {"gateway_port": "0", "dashboard_port": "0"}) as gateway:
            yield Hub(str(gateway.wait_for("is up")["url"]), settings)


ROW = "#models tr:has([data-level=good]) a[href='/models#Echo']"


def chart(page: Page, name: str) -> list[float | None]:
    """What a chart shows of Echo."""
    values: list[float | None] = page.evaluate(
        "name => hubCharts[name].lines.find((line) => line.name === 'Echo')?.values ?? []", name
    )
    return values


def test_a_model_appears_within_two_seconds_of_its_login_and_vanishes_when_it_is_killed(
    hub: Hub, browser: Browser
) -> None:
    page = browser.page
    page.goto(hub.url)
    expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)
    page.evaluate(NOTE_WHEN, [ROW, True])
    with hub.instance() as process:
        expect(page.locator(ROW)).to_be_visible(timeout=TIMEOUT)
        (instance,) = hub.instances()
        appeared = page.evaluate("window.seen") / 1000
        logged_in = page.evaluate("text => Date.parse(text)", instance["logged_in_at"]) / 1000
        expect(page.locator("#live")).to_have_text("1")

        page.evaluate(NOTE_WHEN, [ROW, False])
        killed = time.time()
        process.kill()
        expect(page.locator(ROW)).to_have_count(0, timeout=TIMEOUT)
        vanished = page.evaluate("window.seen") / 1000
    expect(page.locator("#models tr[data-name=Echo]")).to_contain_text("not running", timeout=TIMEOUT)
    expect(page.locator("#active")).to_have_text("0")
    print(  # noqa: T201
        f"\non the page {appeared - logged_in:.2f} s after the login, off it {vanished - killed:.2f} s after kill -9"
    )
    assert chart(page, "names")[-1] == 0
    assert 1 in chart(page, "names")


def test_the_queue_chart_moves_under_a_backlog(hub: Hub, browser: Browser) -> None:
    page = browser.page
    page.goto(hub.url)
    with hub.instance():
        expect(page.locator(ROW)).to_be_visible(timeout=TIMEOUT)
        hub.submit("0.5 x", count=80)  # four at a time: ten seconds
        until(page, "hubCharts.queue.lines.some((line) => line.values.at(-1) > 20)")
        expect(page.locator("#chart-queue .plot")).to_have_attribute("aria-label", re.compile(r"Echo [1-9]\d"))
        until(page, "hubCharts.queue.lines.every((line) => line.values.at(-1) === 0)")
        until(page, "hubCharts.throughput.lines.some((line) => line.values.at(-1) > 0)")
        expect(page.locator("#finished")).not_to_have_text("0")
        queue = [value for value in chart(page, "queue") if value is not None]
        assert max(queue) > 20
        assert queue[-1] == 0
        # A page that was opened later has all of it at once.
        page.goto(hub.url)
        until(page, "window.hubCharts?.queue.lines.length > 0")
        assert max(value or 0 for value in chart(page, "queue")) == max(queue)


def test_the_page_of_models_tells_of_an_instance_that_falls_silent_and_comes_back(hub: Hub, browser: Browser) -> None:
    page = browser.page
    with hub.instance() as process:
        page.goto(f"{hub.url}/models")
        row = page.locator("#Echo table.instances tbody tr")
        expect(row).to_contain_text("live", timeout=TIMEOUT)
        expect(page.locator("#Echo .contract")).to_contain_text("Consumers1")
        process.process.send_signal(signal.SIGSTOP)
        expect(row).to_contain_text("suspect", timeout=TIMEOUT)
        expect(row).to_contain_text("no answer within 0.9 s")
        expect(page.locator("#Echo .model-head")).not_to_contain_text("active")
        process.process.send_signal(signal.SIGCONT)
        expect(row).to_contain_text("live", timeout=TIMEOUT)
        process.terminate()
        expect(page.locator("#Echo")).to_contain_text("No instance is logged in", timeout=TIMEOUT)
        expect(page.locator("#history tr").first).to_contain_text("logged out", timeout=TIMEOUT)
        expect(page.locator("#history")).to_contain_text("no answer within 0.9 s")


def test_the_page_of_a_task_follows_it_to_its_end(hub: Hub, browser: Browser) -> None:
    page = browser.page
    with hub.instance():
        page.goto(hub.url)
        expect(page.locator(ROW)).to_be_visible(timeout=TIMEOUT)
        task = hub.submit("3 slowly")
        page.goto(f"{hub.url}/tasks/{task}")
        expect(page.locator("#state")).to_have_text("running", timeout=TIMEOUT)
        expect(page.locator("#cancel")).to_be_visible()
        expect(page.locator("#result")).to_be_hidden()
        expect(page.locator("#state")).to_have_text("succeeded", timeout=TIMEOUT)
        expect(page.locator("#result-text")).to_contain_text('"reply": "slowly"')
        expect(page.locator("#status")).to_have_text("Ended")
        expect(page.locator("#timeline")).to_contain_text("Waited")
        expect(page.locator("#timeline")).to_contain_text(re.compile(r"Ran3(\.\d)? s"))
        expect(page.locator("#cancel")).to_be_hidden()

        failed = hub.submit("soon x")
        page.goto(f"{hub.url}/tasks/{failed}")
        expect(page.locator("#state")).to_have_text("failed", timeout=TIMEOUT)
        expect(page.locator("#failure")).to_contain_text("could not convert string to float")


def test_a_task_is_cancelled_after_a_question_by_keyboard(hub: Hub, browser: Browser) -> None:
    page = browser.page
    with hub.instance():
        page.goto(hub.url)
        expect(page.locator(ROW)).to_be_visible(timeout=TIMEOUT)
        page.goto(f"{hub.url}/tasks/{hub.submit('600 x')}")
        expect(page.locator("#state")).to_have_text("running", timeout=TIMEOUT)
        page.locator("#cancel").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#keep")).to_be_focused()  # what happens by accident is harmless
        page.keyboard.press("Enter")
        expect(page.locator("#confirm")).to_be_hidden()
        expect(page.locator("#state")).to_have_text("running")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("cancelled", timeout=TIMEOUT)
        expect(page.locator("#cancel")).to_be_hidden()


def test_the_models_page_shows_an_instance_go_and_says_why(hub: Hub, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{hub.url}/models")
    with hub.instance() as process:
        expect(page.locator("#Echo tbody .badge")).to_have_text("live", timeout=TIMEOUT)
        expect(page.locator("#history tr", has_text="logged in").first).to_be_visible(timeout=TIMEOUT)
        process.kill()
        expect(page.locator("#Echo tbody tr")).to_have_count(0, timeout=TIMEOUT)
        expect(page.locator("#history tr").first).to_contain_text("removed", timeout=TIMEOUT)
        expect(page.locator("#history tr").first.locator("td").last).not_to_have_text("\u2013")
