"""Takes the pictures in docs/images: starts a hub with six models under load, and renders its pages in Chromium.

`.venv/bin/python -m scripts.screenshots` takes four minutes. `--serve` only runs that hub, to be looked at by hand.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from math import cos, inf, pi
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

import anyio
import httpx2
from playwright.sync_api import FloatRect, sync_playwright
from typing_extensions import override

import hub
from examples.digits import Digits
from examples.digits.pictures import split
from examples.model_a import ModelA
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.model.instance.instance import run_instance
from hub.observability.logs import configure_logging
from hub.registry.service import run_registry
from hub.settings.up import UpSettings
from hub.stores import open_store
from scripts.small_png import with_palette

ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs" / "images"
WARM_UP: Final = 200.0
"""Seconds of load before the first picture: enough for a backlog to grow and shrink."""

MARGIN: Final = 14
"""Pixels below the last element in a picture."""

LIMIT: Final = 200_000
"""Bytes of a picture at most."""


class Slow(hub.Model[ModelARequest, ModelAResponse]):
    """Takes about `SECONDS` for each task, and fails at one in `FAILS`."""

    concurrency: ClassVar[int] = 2
    SECONDS: ClassVar[float] = 1.0
    FAILS: ClassVar[int] = 10_000

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        task, steps = hub.current_task(), 10
        for step in range(steps):
            task.report(step / steps, f"part {step + 1} of {steps}")
            await anyio.sleep(self.SECONDS / steps * random.uniform(0.6, 1.6))  # noqa: S311 - a show
        if random.randrange(self.FAILS) == 0:  # noqa: S311
            raise ValueError("the recording has no sound")
        return ModelAResponse(reply=request.messages)


class Transcribe(Slow):
    SECONDS = 1.5
    FAILS = 25


class Summarize(Slow):
    SECONDS = 0.8


class Translate(Slow):
    SECONDS = 0.3
    concurrency = 4


class Embed(Slow):
    SECONDS = 0.05
    concurrency = 8


SHIFTS: Final[tuple[tuple[type[hub.Model[Any, Any]], float, float], ...]] = (
    (ModelA, 0, inf),
    (Digits, 0, inf),
    (Embed, 0, inf),
    (Embed, 5, inf),
    (Translate, 0, inf),
    (Summarize, 10, inf),
    (Transcribe, 20, inf),
    (Transcribe, 110, inf),
    (Translate, 40, 90),
    (Summarize, 60, 120),
    (Embed, 70, inf),
)
"""Instances: model, start and end in seconds."""

RATES: Final[dict[type[hub.Model[Any, Any]], tuple[float, float]]] = {
    ModelA: (6, 20),
    Digits: (4, 30),
    Embed: (30, 45),
    Translate: (9, 60),
    Summarize: (2.4, 80),
    Transcribe: (1.9, 150),
}
"""Average tasks per second, and the period of a wave in seconds."""


@asynccontextmanager
async def loaded_hub() -> AsyncGenerator[str]:
    """A hub in this process, whose instances start and end, and a client that sends tasks. Yields its address."""
    settings = UpSettings(gateway_port=0, registry_port=0, dashboard_port=0, ping_period=3.0, ping_timeout=2.0)
    async with (
        open_broker("memory://") as broker,
        open_store("memory://") as store,
        open_directory("memory://") as directory,
        background_service(
            partial(run_registry, settings, directory=directory, broker=broker), name="registry"
        ) as registry,
    ):
        settings = replace(settings, registry_url=registry)

        async def work(model: type[hub.Model[Any, Any]], begin: float, end: float) -> None:
            await anyio.sleep(begin)
            with anyio.move_on_after(end - begin):
                await run_instance(model, settings, broker=broker, store=store)

        async with (
            background_service(partial(run_gateway, settings, broker=broker, store=store), name="gateway") as url,
            httpx2.AsyncClient(base_url=url) as client,
            anyio.create_task_group() as tg,
        ):
            for shift in SHIFTS:
                tg.start_soon(work, *shift, name=f"instance of {shift[0].name}")
            for model, (rate, wave) in RATES.items():
                tg.start_soon(submit, client, model, rate, wave, name=f"load of {model.name}")
            yield url
            tg.cancel_scope.cancel("the show is over")


async def submit(client: httpx2.AsyncClient, model: type[hub.Model[Any, Any]], rate: float, wave: float) -> None:
    """Sends tasks in waves: from almost none to twice the average rate."""
    picture = split()[1].pixels[0].tolist()
    began = anyio.current_time()
    while True:
        body = {"pixels": picture} if model is Digits else {"messages": "a show"}
        await client.post(f"/v1/models/{model.name}/tasks", json=body)
        crest = 1.05 - cos(2 * pi * (anyio.current_time() - began) / wave)
        await anyio.sleep(random.expovariate(rate * crest))


async def serve() -> None:
    async with loaded_hub() as url:
        print(url, flush=True)
        await anyio.sleep_forever()


@contextmanager
def hub_process() -> Generator[str]:
    """The hub in a separate process; it is killed at the end of the block."""
    command = [sys.executable, "-m", "scripts.screenshots", "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield next(line.strip() for line in process.stdout or () if line.startswith("http"))
        finally:
            process.kill()


def new_task(url: str) -> str:
    reply = httpx2.post(f"{url}/v1/models/Transcribe/tasks", json={"messages": "minutes of the board, part 3"})
    return str(reply.json()["id"])


def take(url: str, folder: Path) -> None:
    """Takes all pictures, of a hub that has been under load for a while."""
    executable = shutil.which(os.environ.get("HUB_TEST_CHROMIUM", "chromium"))
    with sync_playwright() as playwright, TemporaryDirectory() as profile:
        for name, path, scheme, width, ready, last in (
            ("dashboard-light", "/", "light", 1280, "#chart-queue canvas", ".row > :nth-child(3)"),
            ("dashboard-dark", "/", "dark", 1280, "#chart-queue canvas", ".row > :nth-child(3)"),
            ("dashboard-phone", "/", "light", 390, "#chart-queue canvas", "#chart-names"),
            ("models", "/models", "light", 1280, "#history .badge", "#history tr:nth-child(9)"),
            ("tasks", "/tasks?state=failed,expired,dead", "light", 1280, "#tasks tr", "#tasks tr:nth-child(5)"),
            ("task", "task", "dark", 1280, "#progress:not([hidden])", "section:has(#facts)"),
            (
                "api",
                "/docs#/Digits/callDigits",
                "light",
                1280,
                ".opblock.is-open",
                ".opblock.is-open .execute-wrapper",
            ),
        ):
            context = playwright.chromium.launch_persistent_context(
                f"{profile}/{name}",
                executable_path=executable,
                args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
                color_scheme="dark" if scheme == "dark" else "light",
                viewport={"width": width, "height": 900},
            )
            page = context.pages[0]
            page.goto(url + (f"/tasks/{new_task(url)}" if path == "task" else path))
            page.locator(ready).first.wait_for(timeout=120_000)
            page.wait_for_timeout(300 if path == "task" else 1500)
            file = folder / f"{name}.png"
            bottom = page.locator(last).first.evaluate("at => at.getBoundingClientRect().bottom + scrollY")
            clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": bottom + MARGIN}
            picture = page.screenshot(full_page=True, clip=clip)
            page.goto("about:blank")
            file.write_bytes(with_palette(picture, page))
            print(f"{file.name}: {file.stat().st_size // 1000} kB")
            context.close()
            if file.stat().st_size >= LIMIT:
                raise SystemExit(f"{file.name} is larger than {LIMIT} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="only run the hub, and print its address")
    parser.add_argument("--url", help="take the pictures of a hub that runs already")
    parser.add_argument("--warm-up", type=float, default=WARM_UP, help="seconds of load before the first picture")
    arguments = parser.parse_args()
    if arguments.serve:
        configure_logging("error", "console")
        anyio.run(serve)
        return
    IMAGES.mkdir(exist_ok=True)
    if arguments.url:
        take(arguments.url, IMAGES)
        return
    with hub_process() as url:
        print(f"{url} is busy for {arguments.warm_up:g} s")
        time.sleep(arguments.warm_up)
        take(url, IMAGES)


if __name__ == "__main__":
    main()
