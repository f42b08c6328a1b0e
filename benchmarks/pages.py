"""The dashboard and the page of the API in a real browser: when they come to rest, how large they are, what they cost."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

QUIET_GOAL: Final = 3.0
_STILL: Final = 1.5
"""Seconds without a change of the page after which it counts as quiet."""

_PATIENCE: Final = 60.0
_WATCH: Final = """
window.changed = performance.now();
new MutationObserver(() => { window.changed = performance.now(); }).observe(document, {
  subtree: true, childList: true, attributes: true, characterData: true
});
"""
_DRAWN: Final = {
    "/": "document.querySelector('#models tr') !== null",
    "/docs": "document.querySelector('.opblock-tag, .swagger-ui .info') !== null",
}

Figure = tuple[str, float, str, float | None]


def look(base: str, models: int, pictures: Path | None) -> list[Figure]:
    """Opens both pages. `pictures` is a folder for pictures of them."""
    executable = shutil.which(os.environ.get("HUB_TEST_CHROMIUM", "chromium"))
    assert executable is not None, "install chromium, or leave the browser out"
    figures: list[Figure] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu"],
            viewport={"width": 1280, "height": 900},
        )
        page = context.pages[0]
        page.add_init_script(_WATCH)
        for path, name in (("/docs", "API page"), ("/", "dashboard")):
            page.goto(base + path)
            quiet = _quiet(page, _DRAWN[path], follows=path == "/")
            figures.append((f"{name}: {'drawn' if path == '/' else 'quiet'} after", quiet, "s", QUIET_GOAL))
            figures.append(
                (f"{name}: height", float(page.evaluate("document.documentElement.scrollHeight")), "px", None)
            )
            figures.append(
                (f"{name}: elements", float(page.evaluate("document.querySelectorAll('*').length")), "", None)
            )
            if path == "/":
                figures.append((f"{name}: CPU of the page's thread", _busy(page), "ms/s", None))
            if pictures is not None:
                pictures.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=str(pictures / f"{name.replace(' ', '-')}-{models}.png"))
        context.close()
    return figures


def _quiet(page: Page, drawn: str, *, follows: bool) -> float:
    """Seconds from the start of the page to its last change; of a page that follows a stream, to its first figures."""
    began = time.monotonic()
    while not page.evaluate(drawn):
        if time.monotonic() - began > _PATIENCE:
            return _PATIENCE
        page.wait_for_timeout(50)
    if follows:
        return float(page.evaluate("performance.now()")) / 1e3
    while time.monotonic() - began < _PATIENCE:
        changed, now = page.evaluate("[window.changed, performance.now()]")
        if now - changed > _STILL * 1e3:
            return float(changed) / 1e3
        page.wait_for_timeout(100)
    return _PATIENCE


def _busy(page: Page, seconds: float = 10.0) -> float:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def used() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))

    before = used()
    page.wait_for_timeout(seconds * 1e3)
    return (used() - before) / seconds * 1e3
