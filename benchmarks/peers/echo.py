"""The work of every system that is measured: the text that came, behind the number of the process and of its run.

So the sender can tell whether each task ran once: the runs of a process are 1, 2, 3 ... without a gap. `BENCH_SLEEP` are seconds
that each task takes, `BENCH_CONCURRENCY` how many tasks a worker runs at a time, `BENCH_RUN` is part of the name of the queue.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Final

AMQP: Final = os.environ.get("BENCH_AMQP", "")
REDIS: Final = os.environ.get("BENCH_REDIS", "")
PORT: Final = int(os.environ.get("BENCH_PORT", "0"))
RUN: Final = os.environ.get("BENCH_RUN", "")
SLEEP: Final = float(os.environ.get("BENCH_SLEEP", "0"))
CONCURRENCY: Final = int(os.environ.get("BENCH_CONCURRENCY", "200"))

_runs = count(1)


def answer(text: str) -> str:
    """`<process>:<run>:<text>`."""
    return f"{os.getpid()}:{next(_runs)}:{text}"
