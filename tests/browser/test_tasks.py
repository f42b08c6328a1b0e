"""The pages of tasks: the lists, the way from the dashboard to one of them, and since when it runs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Browser, running_hub
from tests.support.server import free_port

TIMEOUT = 60_000
PARENT = "01a2101a-5430-752c-b81f-be3f8a1e94d6"
"""Milliseconds: a browser on a busy machine is slow."""

LOOKS = [
    pytest.param(("light", (1280, 900)), id="light-desktop"),
    pytest.param(("dark", (390, 844)), id="dark-phone"),
]

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Hub:
    """A `hub up` whose models fail, die, and report."""

    url: str

    def submit(self, messages: str = "", model: str = "Reports") -> str:
        request = Request(
            f"{self.url}/v1/models/{model}/tasks",
            data=json.dumps({"messages": messages}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as reply:
            return str(json.load(reply)["id"])

    def task(self, task: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/v1/tasks/{task}", timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def until(self, task: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT / 1000
        while (found := self.task(task))["state"] != state:
            assert time.monotonic() < deadline, found
        return found

    def cancel(self, task: str) -> None:
        with urlopen(Request(f"{self.url}/v1/tasks/{task}", method="DELETE"), timeout=30):
            pass


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    models = ("tests.browser.models:Reports", "tests.browser.models:Dies", "tests.browser.models:Streams")
    with running_hub(
        models, free_port(), ping_period="1", ping_timeout="0.9", attempt_limit="1", drain_grace="1"
    ) as addresses:
        yield Hub(addresses.gateway)


def row(page: Page, task: str) -> Any:
    return page.locator(f"#tasks tr:has(a[href='/tasks/{task}'])")


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def between(page: Page, begin: str, end: str) -> str:
    """The time between two members of a view, as the page writes it."""
    text: str = page.evaluate(
        """([begin, end]) => import('/assets/hub/format.js')
            .then((m) => m.seconds(Math.max(0, Date.parse(end) / 1000 - Date.parse(begin) / 1000)))""",
        [begin, end],
    )
    return text


def test_two_clicks_lead_from_the_dashboard_to_what_failed_and_why(hub: Hub, browser: Browser) -> None:
    page = browser.page
    task = hub.submit("the recording has no sound")
    hub.until(task, "failed")
    page.goto(hub.url)
    expect(page.locator("#failed")).not_to_have_text("\u2013", timeout=TIMEOUT)
    page.locator("#failed").click()
    expect(page).to_have_url(re.compile(r"/tasks\?state=failed,expired,dead$"))
    expect(page.locator("#state")).to_have_value("failed,expired,dead")
    expect(row(page, task)).to_contain_text("the recording has no sound", timeout=TIMEOUT)
    expect(row(page, task)).to_contain_text("failed")
    expect(row(page, task)).to_contain_text("Reports")
    row(page, task).get_by_role("link").click()
    expect(page.locator("#failure")).to_contain_text("the recording has no sound", timeout=TIMEOUT)
    expect(page.locator("#failure-code")).to_have_text("model_error · ValueError")
    instance = hub.task(task)["instance"]
    expect(page.locator("#failure-where")).to_contain_text(f"The traceback is in the log of instance {instance} at")
    expect(page.locator("#dead")).to_be_hidden()


def test_the_figures_of_a_model_lead_to_its_tasks(hub: Hub, browser: Browser) -> None:
    page = browser.page
    hub.until(hub.submit("boom"), "failed")
    running = hub.submit()
    page.goto(hub.url)
    cells = page.locator("#models tr[data-name=Reports] td a")
    expect(cells).to_have_count(2, timeout=TIMEOUT)
    expect(cells.nth(0)).to_have_attribute("href", "/tasks?state=running&model=Reports")
    expect(cells.nth(1)).to_have_attribute("href", "/tasks?state=failed,expired,dead&model=Reports")
    cells.nth(0).click()
    expect(row(page, running)).to_contain_text("step", timeout=TIMEOUT)
    expect(page.locator("#model")).to_have_value("Reports")
    hub.cancel(running)
    expect(row(page, running)).to_have_count(0, timeout=TIMEOUT)


def test_a_dead_task_says_what_its_client_and_the_operator_can_do(hub: Hub, browser: Browser) -> None:
    page = browser.page
    task = hub.submit("x", "Dies")
    hub.until(task, "dead")
    page.goto(f"{hub.url}/tasks?state=dead&model=Dies")
    expect(row(page, task)).to_contain_text("attempts_exhausted", timeout=TIMEOUT)
    row(page, task).get_by_role("link").click()
    expect(page.locator("#dead")).to_contain_text("send the request again, as a new task", timeout=TIMEOUT)
    expect(page.locator("#replay")).to_have_text(f"hub dead replay Dies {task}")
    assert "new task" in hub.task(task)["failure"]["message"], "who asks over HTTP reads it too"


def test_a_running_task_ran_since_its_start_whatever_it_reports(hub: Hub, browser: Browser) -> None:
    page = browser.page
    task = hub.submit()
    shown = hub.until(task, "running")
    while moment(shown["updated_at"]) - moment(shown["started_at"]) < 0.2:
        shown = hub.task(task)
    page.clock.set_fixed_time(moment(shown["started_at"]) + 13)
    page.goto(f"{hub.url}/tasks/{task}")
    expect(page.locator("#progress-text")).to_contain_text("step", timeout=TIMEOUT)
    expect(page.locator("#timeline [data-phase=run]")).to_have_text("Running13 s")
    waited = between(page, shown["created_at"], shown["started_at"])
    expect(page.locator("#timeline [data-phase=wait]")).to_have_text(f"Waited{waited}")
    expect(page.locator("#facts")).to_contain_text("Started")
    hub.cancel(task)
    expect(page.locator("#state")).to_have_text("cancelled", timeout=TIMEOUT)
    ended = hub.task(task)
    assert ended["started_at"] == shown["started_at"]
    ran = between(page, ended["started_at"], ended["finished_at"])
    expect(page.locator("#timeline [data-phase=run]")).to_have_text(f"Ran{ran}")


def test_a_task_that_waits_for_another_run_is_waiting(hub: Hub, browser: Browser) -> None:
    """What the page shows of views that a retry would take minutes to make."""
    page = browser.page
    task = hub.submit("x")
    seen = hub.until(task, "failed")
    created = moment(seen["created_at"])
    view = {
        **{name: seen[name] for name in ("id", "model", "created_at", "updated_at", "expires_at", "instance")},
        "state": "queued",
        "attempt": 2,
        "retries": 2,
        "parent": PARENT,
    }

    def answer(route: Any) -> None:
        route.fulfill(content_type="text/event-stream", body=f"event: task\nid: 9\ndata: {json.dumps(view)}\n\n")

    page.route(f"**/v1/tasks/{task}", answer)
    page.clock.set_fixed_time(created + 5)
    page.goto(f"{hub.url}/tasks/{task}")
    expect(page.locator("#timeline [data-phase]")).to_have_text(["Waiting5 s"], timeout=TIMEOUT)
    expect(page.locator("#facts")).not_to_contain_text("Started")
    expect(page.locator(f"#facts a[href$='/tasks/{PARENT}']")).to_be_visible()


@pytest.mark.parametrize("browser", LOOKS, indirect=True)
def test_a_list_is_filtered_by_keyboard_at_any_width(hub: Hub, browser: Browser) -> None:
    page = browser.page
    failed, cancelled = hub.submit("a word of " + "x" * 2000), hub.submit()
    hub.until(failed, "failed")
    hub.until(cancelled, "running")
    hub.cancel(cancelled)
    page.goto(hub.url)
    page.get_by_role("link", name="Tasks", exact=True).click()
    expect(page.get_by_role("link", name="Tasks", exact=True)).to_have_attribute("aria-current", "page")
    expect(row(page, failed)).to_be_visible(timeout=TIMEOUT)
    expect(row(page, cancelled)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.locator("#state").focus()
    page.keyboard.press("c")  # cancelled
    expect(page).to_have_url(re.compile(r"\?state=cancelled$"))
    expect(page.locator("#state")).to_be_focused()
    expect(row(page, failed)).to_have_count(0, timeout=TIMEOUT)
    expect(row(page, cancelled)).to_be_visible()
    assert page.title() == "Tasks: cancelled · hub"
    page.keyboard.press("Tab")
    page.keyboard.press("D")  # the model Dies, which has no cancelled task
    expect(page).to_have_url(re.compile(r"\?state=cancelled&model=Dies$"))
    expect(page.locator("#none")).to_contain_text("No such task lately", timeout=TIMEOUT)
    page.go_back()
    expect(row(page, cancelled)).to_be_visible(timeout=TIMEOUT)
    expect(page.locator("#model")).to_have_value("")


def test_a_question_that_makes_no_sense_is_answered(hub: Hub, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{hub.url}/tasks?state=queued&model=%3Cb%3E")
    expect(page.locator("#none")).to_contain_text("running, failed, dead, expired, cancelled", timeout=TIMEOUT)
    assert page.locator("#filter b").count() == 0
    browser.complaints.clear()  # browsers log each reply with an error status


def test_older_tasks_are_shown_when_asked_for(hub: Hub, browser: Browser) -> None:
    page = browser.page
    tasks = [hub.submit(f"number {number}") for number in range(101)]
    for task in tasks:
        hub.until(task, "failed")
    page.goto(f"{hub.url}/tasks?state=failed&model=Reports")
    expect(page.locator("#tasks tr")).to_have_count(100, timeout=TIMEOUT)
    page.locator("#more").click()
    expect(page.locator("#tasks tr", has_text="number 0")).to_have_count(1, timeout=TIMEOUT)
    assert page.locator("#tasks tr").count() >= 101


def test_the_chunks_of_a_task_appear_as_they_come_and_stay(hub: Hub, browser: Browser) -> None:
    page = browser.page
    task = hub.submit("", "Streams")
    page.goto(f"{hub.url}/tasks/{task}")
    chunks = page.locator("#chunks")
    expect(chunks).to_contain_text('{"reply":"number 3"}', timeout=TIMEOUT)
    expect(chunks).to_contain_text('{"reply":"number 30"}', timeout=TIMEOUT)
    expect(page.locator("#stream-note")).to_contain_text("so far")
    hub.cancel(task)
    expect(page.locator("#state")).to_have_text("cancelled", timeout=TIMEOUT)
    lines = chunks.inner_text().splitlines()
    assert lines == [f'{{"reply":"number {number}"}}' for number in range(1, len(lines) + 1)]
    expect(page.locator("#result")).to_be_hidden()


def test_the_chunks_of_a_task_that_has_ended_are_shown(hub: Hub, browser: Browser) -> None:
    page = browser.page
    task = hub.submit("one two three", "Streams")
    hub.until(task, "succeeded")
    page.goto(f"{hub.url}/tasks/{task}")
    expect(page.locator("#chunks")).to_have_text('{"reply":"one"}\n{"reply":"two"}\n{"reply":"three"}', timeout=TIMEOUT)
    expect(page.locator("#stream-note")).to_contain_text(f"3 so far. All of them: /v1/tasks/{task}/chunks")
    page.goto(f"{hub.url}/models")
    expect(page.locator("#Streams")).to_contain_text("a stream of examples.model_a.v1.ModelAResponse", timeout=TIMEOUT)
