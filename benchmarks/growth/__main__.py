"""What a task, an instance and a model cost when there are many of them: `make bench ARGS=growth`.

At 10, 1,000, 20,000 and 200,000 queued tasks: the CPU of a task in each process, and the bytes in Redis. At 10, 100 and 1,000
instances (with `--full` also 10,000): the CPU of the registry per ping and per login. At 10, 100 and 1,000 models: the CPU of a
gateway per submit, and its memory per model. Over a private RabbitMQ and Redis, on both backends; `--only queue` measures a
part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final

from benchmarks.growth import instances, models, queue
from benchmarks.growth.part import Found
from benchmarks.records import read, record

PARTS: Final[dict[str, Callable[[str, argparse.Namespace], Found]]] = {
    "queue": queue.measure,
    "instances": instances.measure,
    "models": models.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", choices=("asyncio", "trio"), default=("asyncio", "trio"))
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--full", action="store_true", help="also 10,000 instances, two minutes more on each backend")
    parser.add_argument(
        "--queued", type=int, nargs="+", default=(10, 1_000, 20_000, 200_000), help="levels of queued tasks"
    )
    parser.add_argument("--tasks", type=int, default=6_000, help="tasks that are measured at each level")
    queue.add_roles(parser)
    arguments = parser.parse_args()
    if arguments.role:
        sys.exit(queue.play(arguments))
    for backend in arguments.backends:
        found = Found()
        for name in arguments.only:
            found |= PARTS[name](backend, arguments)
        earlier = read("growth")
        part = earlier.parts.get(backend) if earlier is not None else None
        if part is not None and tuple(arguments.only) != tuple(PARTS):
            found = Found(dict(part.figures), dict(part.curves)) | found
        record("growth", found.figures, backend=backend, curves=found.curves)


if __name__ == "__main__":
    main()
