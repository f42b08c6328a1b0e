"""The cost of a failing model for another model in the same `hub up`: calls of a good model, alone and beside the failing one.

    python -m benchmarks.failures [--backend trio]

`hub up` runs in a separate process, with its default console log. A client calls the good model one call at
a time while `CALLERS` others call the failing one, each once a second; as a peer, the same calls succeed. The errors have a
long text and a cause. Client and server share the machine. The last line is the cost of logging one failure: formatting and
writing.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import structlog
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.observability.logs import configure_logging

CALLERS: Final = 30
CALLS: Final = 600


class Good(hub.Model[ModelARequest, ModelAResponse]):
    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


class Fails(hub.Model[ModelARequest, ModelAResponse]):
    concurrency = 4

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        try:
            return ModelAResponse(reply=bytes.fromhex(request.messages).decode())
        except ValueError as error:
            raise LookupError("no such voice: " + "3f" * 20_000) from error


async def calls(client: AsyncClient, url: str) -> list[float]:
    times: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        reply = await client.post(f"{url}/v1/models/Good", json={"messages": "hello"})
        assert reply.status_code == 200, reply.text
        times.append((time.perf_counter() - began) * 1000)
    return times


async def keep_calling(client: AsyncClient, url: str, number: int, text: str) -> None:
    await anyio.sleep(number / CALLERS)
    while True:
        await client.post(f"{url}/v1/models/Fails", json={"messages": text})
        await anyio.sleep(1)


async def measure(url: str, label: str) -> None:
    async with AsyncClient(timeout=60) as client:
        await calls(client, url)
        for what, text in (
            ("alone", ""),
            ("beside calls that succeed", "6869"),
            ("beside calls that fail", "no voice"),
        ):
            times: list[float] = []
            async with anyio.create_task_group() as tg:
                for number in range(CALLERS if text else 0):
                    tg.start_soon(keep_calling, client, url, number, text)
                await anyio.sleep(0.5)
                times += await calls(client, url)
                tg.cancel_scope.cancel()
            cuts = statistics.quantiles(times, n=20)
            print(f"{label:16s} {what:26s} p50 {cuts[9]:6.2f} ms, p95 {cuts[18]:6.2f} ms")


def cost_of_one(form: str) -> float:
    """Milliseconds for the log of one failure, into a file."""
    log = structlog.get_logger("benchmark")
    count = 500
    errors: list[Exception] = []
    for _ in range(count):
        try:
            Fails().process_request(ModelARequest(messages="no voice"))
        except LookupError as failure:
            errors.append(failure)
    with tempfile.TemporaryFile("w") as file:
        before, sys.stderr = sys.stderr, file
        try:
            configure_logging("info", "console" if form == "console" else "json")
            began = time.perf_counter()
            for error in errors:
                log.warning("run failed", attempt=1, task="a task", model="Fails", exc_info=error)
            return (time.perf_counter() - began) * 1000 / count
        finally:
            sys.stderr = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ports = ["--gateway-port", str(port), "--registry-port", "0", "--dashboard-port", "0"]
    models = [f"benchmarks.failures:{kind.__name__}" for kind in (Good, Fails)]
    command = [sys.executable, "-c", "from hub.cli.app import main; main()", "up", *models, *ports]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                [*command, "--backend", arguments.backend], env=environment, stdout=subprocess.DEVNULL, stderr=stderr
            ) as server,
        ):
            try:
                while log.read_text().count("instance is up") < len(models):
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.05)
                anyio.run(measure, f"http://127.0.0.1:{port}", f"hub on {arguments.backend}")
            finally:
                server.terminate()
        failures = [part for part in log.read_text().split("\n20") if "run failed" in part]
        longest = max(len(each.splitlines()) for each in failures)
        print(f"{len(failures)} failures logged, {longest} lines each at most")
    print(", ".join(f"{cost_of_one(form):.3f} ms for one failure as {form}" for form in ("console", "json")))


if __name__ == "__main__":
    main()
