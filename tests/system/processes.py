"""Processes of hub, such as `python -m hub.registry`, with their logs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from anyio.to_thread import run_sync
from httpx2 import AsyncClient

ROOT: Final = Path(__file__).parents[2]
START_TIMEOUT: Final = 60.0
"""Seconds for the start of a process: imports are slow on a busy machine."""


@final
class HubProcess:
    """One process of hub. A thread reads its log line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):  # the block of `hub_process` has closed it, although a child still writes
            for line in self.process.stderr:
                self._lines.put(line)
        self._lines.put(None)

    def finish_reading(self) -> None:
        """Waits until a process that was killed has no more lines."""
        self._reader.join(timeout=5)

    def wait_for(self, event: str) -> Mapping[str, object]:
        """Reads the log until a line whose event contains `event`; fails when the process ends before."""
        while True:
            line = self._lines.get(timeout=START_TIMEOUT)
            assert line is not None, f"the process ended without logging {event!r}:\n{''.join(self.log)}"
            self.log.append(line)
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict) and event in str(fields.get("event")):
                return fields

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 60) -> int:
        return self.process.wait(timeout=timeout)

    def output(self) -> str:
        """The rest of the log of a process that has ended."""
        while (line := self._lines.get(timeout=10)) is not None:
            self.log.append(line)
        return "".join(self.log)


HUB: Final = (str(Path(sys.executable).with_name("hub")),)
"""The command `hub`, for `hub_process`."""


@contextmanager
def hub_process(
    arguments: Sequence[str],
    settings: Mapping[str, str],
    program: Sequence[str] = (sys.executable, "-m"),
    *,
    folder: Path = ROOT,
) -> Generator[HubProcess]:
    """Starts `python -m <arguments>`, or another program, with `HUB_*` settings, and kills it at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {f"HUB_{name.upper()}": value for name, value in settings.items()} | {"HUB_LOG_FORMAT": "json"}
    with subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = HubProcess(process)
        try:
            yield running
        finally:
            process.kill()
            running.finish_reading()


@dataclass(frozen=True)
class Hub:
    """The running processes, and a client."""

    settings: Mapping[str, str]
    registry_settings: Mapping[str, str]
    registry_process: HubProcess
    registry: str
    gateway: str
    http: AsyncClient

    @contextmanager
    def instance(self, target: str) -> Generator[HubProcess]:
        with hub_process(["hub.model", target], self.settings) as process:
            yield process

    @asynccontextmanager
    async def instances(self, *targets: str) -> AsyncGenerator[list[HubProcess]]:
        """A process for each target, all listed, with their models on the API page.

        Instances of earlier tests are gone before they start: a killed one stays listed until its next ping fails.
        """
        counts = Counter(target.partition(":")[2] for target in targets)
        for model in counts:
            await self.until_listed(model, 0)
        with ExitStack() as stack:
            processes = [stack.enter_context(self.instance(target)) for target in targets]
            for model, count in counts.items():
                await self.until_listed(model, count)
                await self.until_offered(model)
            yield processes

    async def submit(self, model: str, body: Mapping[str, object]) -> str:
        reply = await self.http.post(f"{self.gateway}/v1/models/{model}/tasks", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def ended(self, task_id: str) -> dict[str, Any]:
        """The task, once it has ended."""
        while True:
            reply = await self.http.get(f"{self.gateway}/v1/tasks/{task_id}", params={"wait": "30"})
            assert reply.status_code == 200, reply.text
            task: dict[str, Any] = reply.json()
            if task["state"] not in {"queued", "running"}:
                return task

    async def models(self, etag: str = "") -> tuple[dict[str, list[str]], str]:
        """Live instances by model, at once or (after `etag`) at the next change of the registry's list."""
        headers = {"If-None-Match": etag, "Prefer": "wait=30"} if etag else {}
        reply = await self.http.get(f"{self.registry}/v1/models", headers=headers)
        if reply.status_code == 304:
            return await self.models()
        live = {
            model["name"]: [instance["id"] for instance in model["instances"] if instance["state"] == "live"]
            for model in reply.json()["models"]
        }
        return live, reply.headers["etag"]

    async def until_listed(self, model: str, count: int) -> list[str]:
        """Watches the registry until it lists exactly `count` live instances of `model`."""
        live, etag = await self.models()
        while len(live.get(model, [])) != count:
            live, etag = await self.models(etag)
        return live.get(model, [])

    async def until_offered(self, model: str) -> None:
        """Watches the gateway's API page until `model` is on it."""
        etag = ""
        while True:
            headers = {"If-None-Match": etag, "Prefer": "wait=30"} if etag else {}
            reply = await self.http.get(f"{self.gateway}/openapi.json", headers=headers)
            if reply.status_code == 200 and f"/v1/models/{model}" in reply.json()["paths"]:
                return
            etag = reply.headers.get("etag", etag)


async def up(process: HubProcess) -> str:
    """The URL in the log line of a process that is up."""
    fields = await run_sync(process.wait_for, "is up")
    return str(fields["url"])
