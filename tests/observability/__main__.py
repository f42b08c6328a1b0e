"""Sets off every alert of deploy/prometheus/hub.rules.yml for real: `make alerts`, or

    python -m tests.observability --backend asyncio --keep /tmp/alerts

A real Prometheus watches a hub of several processes over a RabbitMQ and a Redis of the run's own. The rules are the
committed ones with every duration divided by 60, and with no other change. Exits with 1 when an alert did not fire, or
did not end after the repair. See docs/monitoring.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio

from tests.observability.run import run, table
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="trio", help="what hub runs on")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs there")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        _print(f"{time.monotonic() - began:6.1f} s  {text}")

    with ExitStack() as stack:
        folder = arguments.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-alerts-", ignore_cleanup_errors=True))
        )
        folder.mkdir(parents=True, exist_ok=True)
        broker, store = stack.enter_context(rabbitmq()), stack.enter_context(redis())
        trials = partial(run, amqp_url=broker.url, redis_url=f"{store.url}/0")
        verdicts = anyio.run(trials, arguments.backend, folder.resolve(), say, backend=arguments.backend)
    _print(table(verdicts))
    return 0 if all(verdict.kept for verdict in verdicts) else 1


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
