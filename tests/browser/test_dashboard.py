"""The dashboard by keyboard, in dark and light, without a key, and without a server."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from hub.types import new_task_id
from tests.browser.conftest import EXAMPLES, Addresses, Browser, running_hub, until
from tests.support.server import free_port

TIMEOUT = 30_000
"""Milliseconds: a browser on a busy machine is slow."""

pytestmark = pytest.mark.timeout(300)

BOTH = [
    pytest.param(("light", (1280, 900)), id="light"),
    pytest.param(("dark", (1280, 900)), id="dark"),
]
TEXTS = [
    *((text, back) for text in ("text", "quiet", "accent") for back in ("page", "card")),
    *((level, f"{level}-back") for level in ("good", "warn", "bad", "off")),
    *((level, "card") for level in ("good", "warn", "bad", "off")),
    ("text", "off-back"),
    ("accent", "busy-back"),
    ("on-accent", "accent"),
]


def channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    red, green, blue = (channel(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("browser", BOTH, indirect=True)
def test_text_has_a_contrast_of_4_5_and_lines_of_3(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.dashboard)

    def variable(name: str) -> str:
        value = page.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name)", f"--{name}")
        return str(value).strip()

    least = {pair: contrast(variable(pair[0]), variable(pair[1])) for pair in TEXTS}
    lines = {f"s{number}": contrast(variable(f"s{number}"), variable("card")) for number in range(1, 9)}
    print(f"\nleast contrast of text {min(least.values()):.2f}, of lines {min(lines.values()):.2f}")  # noqa: T201
    assert {pair: found for pair, found in least.items() if found < 4.5} == {}
    assert {name: found for name, found in lines.items() if found < 3} == {}


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_everything_can_be_done_by_keyboard_alone(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(hub_up.dashboard)
    expect(page.locator("#models tr")).to_have_count(2, timeout=TIMEOUT)
    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("Skip to the content")
    expect(focused(page)).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#failed")).to_be_focused()  # the figure that leads to what failed
    page.keyboard.press("Tab")
    expect(page.locator("#chart-queue .plot")).to_be_focused()

    # A chart says what it shows, and the arrow keys go back in time.
    expect(focused(page)).to_have_attribute("aria-label", re.compile(r"Tasks waiting.*Digits \d+, ModelA \d+\."))
    until(page, "hubCharts.queue.times.length > 3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    until(page, "hubCharts.queue.cursor !== null && hubCharts.queue.cursor < hubCharts.queue.times.length - 1")
    page.keyboard.press("Home")
    until(page, "hubCharts.queue.cursor === 0")
    page.keyboard.press("Escape")
    until(page, "hubCharts.queue.cursor === null")

    # Its query opens and closes.
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#chart-queue details")).to_have_attribute("open", "")
    expect(page.locator("#chart-queue code")).to_be_visible()

    # Everything that takes the focus shows that it has it; the table scrolls, and its links lead on.
    seen: list[str] = []
    while True:
        page.keyboard.press("Tab")
        outline, place, link = page.evaluate(
            """() => { const at = document.activeElement, style = getComputedStyle(at);
                return [style.outlineStyle, at.closest("[id]")?.id ?? "", at.getAttribute("href") ?? ""]; }"""
        )
        assert outline != "none", place
        seen.append(place)
        if link == "/models#ModelA":
            break
    assert {"chart-models", "chart-names"} <= set(seen)
    faded = page.evaluate(
        "hubCharts.queue.lines.map(({label}, at) => [label, hubCharts.queue.plot.series[at + 1].alpha])"
    )
    assert dict(faded)["ModelA"] == 1 > dict(faded)["Digits"]  # its line stands out
    page.keyboard.press("Enter")
    expect(page.locator("#ModelA")).to_contain_text("examples.model_a.v1.ModelARequest", timeout=TIMEOUT)
    expect(page.locator("#ModelA .scroll")).to_have_attribute("tabindex", "0")

    # The search box finds tasks.
    page.locator("#find").focus()
    task = str(new_task_id())
    page.keyboard.type(f" {task} ")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/tasks/{task}$"))
    expect(page.locator("#explained h2")).to_have_text("There is no such task here", timeout=TIMEOUT)
    browser.complaints.clear()  # browsers log the 404


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/tasks/42", "This is not the id of a task"),
        ("/tasks?id=%20x", "This is not the id"),
    ],
)
def test_what_is_no_id_is_explained(hub_up: Addresses, browser: Browser, path: str, title: str) -> None:
    browser.page.goto(hub_up.dashboard + path)
    expect(browser.page.locator("#explained h2")).to_contain_text(title, timeout=TIMEOUT)


def test_the_models_page_tells_of_every_instance(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.goto(f"{hub_up.dashboard}/models#Digits")
    digits = page.locator("#Digits")
    expect(digits.locator("tbody tr")).to_have_count(1, timeout=TIMEOUT)
    expect(digits.locator("tbody .badge")).to_have_text("live")
    expect(digits.locator("tbody td").nth(1)).to_have_text(re.compile(r"ago|just now"))
    expect(digits.get_by_role("link", name="API page")).to_have_attribute("href", "/docs#/Digits")
    expect(page.locator("#history tr").first).to_contain_text("live", timeout=TIMEOUT)
    before = digits.locator("tbody time").nth(1).inner_text()
    expect(digits.locator("tbody time").nth(1)).not_to_have_text(before, timeout=TIMEOUT)  # it ticks


def test_a_page_asks_for_a_key_and_says_when_it_is_wrong(browser: Browser) -> None:
    page = browser.page
    with running_hub(EXAMPLES[:1], free_port(), api_keys="sesame") as hub:
        page.goto(hub.dashboard)
        expect(page.locator("#status")).to_have_text("Needs a key", timeout=TIMEOUT)
        expect(page.locator("#key")).to_be_focused()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_have_text("That key was not taken.", timeout=TIMEOUT)
        page.locator("#key").fill("sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)
        expect(page.locator("#models tr")).to_have_count(1, timeout=TIMEOUT)
        expect(page.locator("#key-form")).to_be_hidden()
        page.goto(f"{hub.dashboard}/models")  # the tab remembers it
        expect(page.locator("#ModelA tbody tr")).to_have_count(1, timeout=TIMEOUT)
        page.goto("about:blank")
    browser.complaints.clear()  # browsers log each 401


def test_a_page_says_that_the_server_is_gone_and_comes_back_by_itself(browser: Browser) -> None:
    page, port = browser.page, free_port()
    with running_hub(EXAMPLES[:1], port) as hub:
        page.goto(hub.dashboard)
        expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)
        expect(page.locator("#models tr")).to_have_count(1, timeout=TIMEOUT)
    expect(page.locator("#status")).to_have_text("Not connected", timeout=TIMEOUT)
    expect(page.locator("#notice")).to_contain_text("What you see is from")
    expect(page.locator("#content")).to_have_attribute("data-state", "lost")
    expect(page.locator("#models tr")).to_have_count(1)
    with running_hub(EXAMPLES[:1], port):
        expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#content")).to_have_attribute("data-state", "live")
        page.goto("about:blank")
    browser.complaints.clear()  # browsers log each connection that failed


def test_a_hidden_tab_disconnects_and_reconnects_when_shown(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.add_init_script(
        """window.opened = 0; const real = window.fetch;
        window.fetch = (...given) => { window.opened += given[0].split("?")[0] === "/v1/overview/events"; return real(...given); };"""
    )
    page.clock.install()
    page.goto(hub_up.dashboard)
    expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)

    def hide(hidden: str) -> None:
        page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    hide("true")
    hide("false")
    page.clock.fast_forward(21_000)  # a short look elsewhere costs nothing
    heard = page.evaluate("hubCharts.queue.times.length")
    until(page, f"hubCharts.queue.times.length > {heard}")  # its watchdog has heard something since
    assert page.evaluate("opened") == 1
    hide("true")
    page.clock.fast_forward(21_000)
    hide("false")
    until(page, "opened === 2")
    expect(page.locator("#status")).to_have_text("Live", timeout=TIMEOUT)


def test_a_hub_with_no_model_says_how_to_start_one(browser: Browser) -> None:
    page = browser.page
    with running_hub([], free_port()) as hub:
        for path in ("/", "/models"):
            page.goto(hub.dashboard + path)
            expect(page.locator("#empty")).to_be_visible(timeout=TIMEOUT)
            expect(page.locator("#empty")).to_contain_text("hub model examples.model_a:ModelA")
        page.goto("about:blank")


@pytest.mark.parametrize(
    ("states", "level", "word"),
    [
        ({"live": 2, "not_consuming": 0, "suspect": 0}, "good", "active"),
        ({"live": 1, "not_consuming": 1, "suspect": 0}, "warn", "active, not all"),
        ({"live": 0, "not_consuming": 1, "suspect": 1}, "bad", "takes no tasks"),
        ({"live": 0, "not_consuming": 0, "suspect": 1}, "bad", "does not answer"),
        ({"live": 0, "not_consuming": 0, "suspect": 0}, "off", "not running"),
        ({"live": 0, "not_consuming": 1, "suspect": 0, "loading": 1}, "busy", "loading"),
    ],
)
def test_each_state_of_a_model_has_its_word(
    hub_up: Addresses, browser: Browser, states: dict[str, int], level: str, word: str
) -> None:
    page = browser.page
    page.goto(f"{hub_up.dashboard}/tasks")
    model = {"active": states["live"] > 0, "instances": sum(states.values()), "states": states}
    found = page.evaluate("model => import('/assets/hub/states.js').then((m) => m.modelState(model))", model)
    assert found == [level, word]


def test_nothing_moves_for_those_who_want_that(hub_up: Addresses, browser: Browser) -> None:
    page = browser.page
    page.emulate_media(reduced_motion="reduce")
    page.goto(hub_up.dashboard)
    page.locator("#content").evaluate("element => { element.dataset.state = 'loading'; }")
    names = page.locator("#chart-queue .plot").evaluate("element => getComputedStyle(element).animationName")
    assert names == "none"
