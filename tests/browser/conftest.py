"""`hub up` with both examples, and a Chromium that reaches nothing but this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from tests.support.markers import starts
from tests.support.server import free_port

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

EXAMPLES = ("examples.model_a:ModelA", "examples.digits:Digits")

ColourScheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where `hub up` listens."""

    docs: str
    dashboard: str
    gateway: str
    registry: str


@pytest.fixture(scope="session")
def hub_up() -> Iterator[Addresses]:
    """One `hub up` for all tests of this folder; its summary tells the addresses."""
    with running_hub(EXAMPLES, free_port()) as addresses:
        yield addresses


@contextmanager
def running_hub(models: Sequence[str], dashboard_port: int, **settings: str) -> Generator[Addresses]:
    """A `hub up` of its own; leaving the block ends it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {f"HUB_{name.upper()}": value for name, value in settings.items()}
    ports = ["--gateway-port", "0", "--registry-port", "0", "--dashboard-port", str(dashboard_port)]
    command = [str(Path(sys.executable).with_name("hub")), "up", *models, *ports]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield _addresses(process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _addresses(process: subprocess.Popen[str]) -> Addresses:
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        match = re.match(r"\s+(API page|dashboard|gateway|registry)\s+(http\S+)", line)
        if match is not None:
            found[match[1]] = match[2]
        if "Ctrl-C" in line:
            break
    assert found, f"hub up ended with {process.poll()} and no summary"
    return Addresses(found["API page"], found["dashboard"], found["gateway"], found["registry"].removesuffix("/docs"))


@dataclass(slots=True)
class Browser:
    """One tab, and what it did that it should not have."""

    page: Page
    outside: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])


@contextmanager
def open_browser(
    profile: Path, *, scheme: ColourScheme = "light", size: tuple[int, int] = (1280, 900)
) -> Generator[Browser]:
    """Chromium with a fresh profile. Requests to other machines are refused and noted, as are errors of the page."""
    executable = shutil.which(os.environ.get("HUB_TEST_CHROMIUM", "chromium"))
    assert executable is not None, "install chromium (apt-get install chromium), or name one in HUB_TEST_CHROMIUM"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            args=FLAGS,
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
        )
        try:
            browser = Browser(context.pages[0])

            def guard(route: Route) -> None:
                parts = urlsplit(route.request.url)
                if parts.hostname in LOOPBACK or parts.scheme in ("data", "blob"):
                    route.continue_()
                else:
                    browser.outside.append(route.request.url)
                    route.abort()

            context.route("**/*", guard)
            browser.page.on("pageerror", lambda error: browser.complaints.append(str(error)))
            browser.page.on(
                "console", lambda message: browser.complaints.append(message.text) if message.type == "error" else None
            )
            yield browser
        finally:
            context.close()


def until(page: Page, expression: str, seconds: float = 60) -> None:
    """Waits until an expression of the page is true. Playwright's own wait needs `eval`, which our policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {expression}"
        page.wait_for_timeout(50)


@pytest.fixture
@starts("browser")
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A desktop browser with light colours, or what the test's parameter says. Fails a test that went outside."""
    scheme, size = cast("tuple[ColourScheme, tuple[int, int]]", getattr(request, "param", ("light", (1280, 900))))
    with open_browser(tmp_path, scheme=scheme, size=size) as opened:
        yield opened
        assert opened.outside == []
        assert opened.complaints == []
