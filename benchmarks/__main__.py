"""Runs the benchmarks, one after the other, against private RabbitMQ and Redis servers: `make bench`.

Only ratios within one run count: quote a figure beside its peer or its limit. Name benchmarks to run just those, as in
`make bench ARGS="tasks transcoder"`. `make bench ARGS="peers --rounds 5"` compares hub with other systems and writes
`docs/benchmarks.md`, and `make bench ARGS=goals` measures all goals and writes `docs/performance.md`; they are not among
those that run without a name. `growth`, `memory` and `start` have arguments of their own: `make bench ARGS="memory --help"`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis

NAMES = ("transcoder", "batches", "bodies", "failures", "stores", "amqp", "tasks", "digits", "fleet", "models")
ALONE = ("peers", "goals", "growth", "large", "memory", "start")
"""Those that start their servers themselves and have arguments."""


def run(name: str, *arguments: str) -> None:
    print(f"\n== {name} {' '.join(arguments[2:])}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*NAMES, *ALONE)))
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}")
    if "transcoder" in names:
        run("transcoder")
    for name in (each for each in ("batches", "bodies", "failures", "fleet", "models") if each in names):
        for backend in ("asyncio", "trio"):
            run(name, "--backend", backend)
    if {"stores", "amqp", "tasks", "digits"} & set(names):
        with rabbitmq() as broker, redis() as store:
            if "stores" in names:
                run("stores", store.url)
            if "amqp" in names:
                run("amqp", broker.url)
            for name in (each for each in ("tasks", "digits") if each in names):
                for backend in ("asyncio", "trio"):
                    run(name, broker.url, store.url, "--backend", backend)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ALONE:
        os.execv(
            sys.executable, [sys.executable, "-m", f"benchmarks.{sys.argv[1]}", *sys.argv[2:]]
        )  # gets Ctrl-C itself
    main()
