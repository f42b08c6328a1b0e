"""Task life cycles a second (create, start, finish) in the result stores, compared with plain SETs on the same connection.

    .venv/bin/python -m benchmarks.stores redis://127.0.0.1:6379

In groups of 100, one group after the other ("alone") and four at a time; 100-byte outcomes; the best of several rounds.
A life is three scripted transitions; a SET is one key of 100 bytes, 100 of them in a pipeline over the same link.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

import anyio

from hub.redis.opening import redis_links
from hub.stores import open_store
from hub.task import Outcome, Task
from hub.types import Fingerprint, InstanceId, ModelName, TaskState, new_task_id

GROUP: Final = 100
GROUPS: Final = 24
ROUNDS: Final = 5
BODY: Final = bytes(100)
INSTANCE: Final = InstanceId("bench")
CASES: Final = (
    ("memory", "memory", "asyncio"),
    ("memory", "memory", "trio"),
    ("hub", "redis", "asyncio"),
    ("hub", "redis", "trio"),
    ("redis-py", "redis+redispy", "asyncio"),
)

Work = Callable[[], Awaitable[None]]


async def best(work: Work, at_once: int) -> float:
    """Items a second of the fastest round; `work` runs one batch of them."""

    async def lane(groups: int) -> None:
        for _ in range(groups):
            await work()

    await work()
    seconds = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        async with anyio.create_task_group() as tg:
            for _ in range(at_once):
                tg.start_soon(lane, GROUPS // at_once)
        seconds = min(seconds, time.perf_counter() - started)
    return GROUP * GROUPS / seconds


async def lives(url: str) -> list[float]:
    async with open_store(url) as store:

        async def group() -> None:
            now = time.time()
            tasks = [
                Task(
                    id=new_task_id(),
                    model=ModelName("Bench"),
                    body=b"",
                    fingerprint=Fingerprint("f" * 64),
                    created_at=now,
                    result_ttl=60.0,
                    reply_channel=store.channel,
                )
                for _ in range(GROUP)
            ]
            await store.create(tasks)
            await store.start(tasks, INSTANCE, attempts=5)
            await store.finish(
                [
                    Outcome(
                        task_id=task.id,
                        state=TaskState.SUCCEEDED,
                        body=BODY,
                        attempt=1,
                        instance=INSTANCE,
                        finished_at=now,
                    )
                    for task in tasks
                ]
            )

        return [await best(group, at_once) for at_once in (1, 4)]


async def sets(url: str) -> list[float]:
    async with redis_links(url, read_timeout=5.0).connect(None) as link:
        key = f"hub:bench:{uuid4()}"

        async def group() -> None:
            await link.call([("SET", f"{key}:{index}", BODY, "PX", 60_000) for index in range(GROUP)])

        return [await best(group, at_once) for at_once in (1, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("redis", help="URL of a Redis to work on, such as redis://127.0.0.1:6379")
    arguments = parser.parse_args()
    print(f"{'':22}{'lives/s alone':>16}{'4 at a time':>14}{'SETs/s alone':>16}{'4 at a time':>14}")
    for library, scheme, backend in CASES:
        options = {"use_uvloop": True} if backend == "asyncio" else {}
        url = "memory://" if scheme == "memory" else f"{scheme}:{arguments.redis.partition(':')[2]}"
        figures = anyio.run(lives, url, backend=backend, backend_options=options)
        if scheme != "memory":
            figures += anyio.run(sets, url, backend=backend, backend_options=options)
        widths = (16, 14, 16, 14)
        print(
            f"{library + ' on ' + backend:22}"
            + "".join(f"{figure:{width},.0f}" for figure, width in zip(figures, widths, strict=False)),
            flush=True,
        )


if __name__ == "__main__":
    main()
