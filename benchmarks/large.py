"""Bodies of 10 MB: how much memory one takes in a gateway, and whether it is given back: `make bench ARGS=large`.

A gateway, a registry and an instance of the echo, each a process, over a private RabbitMQ and Redis. Synchronous calls are made
one after the other, each with a JSON string of `--megabytes`, which is the response too. "Copies" are the growth of the peak of
the resident memory over the size of the body; what is kept is the growth ten seconds after the last call.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from benchmarks.records import record
from benchmarks.start import megabytes, system
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis

CALLS: Final = 5
SETTLE: Final = 10.0
"""Seconds until what a call took counts as kept."""


def peak(pid: int) -> float:
    """The most resident memory since the last reset, in MB of 1,000,000 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def reset_peak(pid: int) -> None:
    """Sets the peak to the present memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def call(port: int, body: bytes) -> int:
    """Bytes of the response to a call."""
    request = Request(
        f"http://127.0.0.1:{port}/v1/models/ModelA", data=body, headers={"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=60) as reply:
        return len(reply.read())


def measure(port: int, pid: int, size: int) -> dict[str, float]:
    """Copies of a body at the peak of a call, the most of several, and MB that are kept afterwards."""
    small = b'{"messages":"x"}'
    big = b'{"messages":"' + b"x" * size + b'"}'
    for _ in range(20):
        call(port, small)
    before = megabytes(pid)
    copies: list[float] = []
    for _ in range(CALLS):
        reset_peak(pid)
        at = megabytes(pid)
        if call(port, big) < size:
            raise SystemExit("the response is not the request")
        copies.append((peak(pid) - at) * 1e6 / size)
        time.sleep(1)
    time.sleep(SETTLE)
    return {"copies": max(copies), "kept_mb": megabytes(pid) - before}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks large", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=10.0)
    arguments = parser.parse_args()
    size = int(arguments.megabytes * 1e6)
    limits = {"HUB_BODY_LIMIT": str(2 * size), "HUB_RESULT_LIMIT": str(2 * size)}
    with rabbitmq() as broker, redis() as store:
        for backend in ("asyncio", "trio"):
            with system(backend, broker.url, store.url, **limits) as (port, pids):
                figures = measure(port, pids["gateway"], size)
            record("large", figures, backend=backend)
            print(
                f"{backend}: {figures['copies']:.1f} copies at the peak (goal 4), {figures['kept_mb']:.1f} MB kept",
                flush=True,
            )


if __name__ == "__main__":
    main()
