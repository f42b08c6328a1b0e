"""Messages of a channel on a loaded event loop, whose turns are long."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from redis import Redis

from hub.redis.opening import redis_links
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.helpers import TIMEOUT

MESSAGES = 2_000
TURNS = 50
"""Turns of the event loop at most. With one for each message, 50 ms long, the last message would be handled after 100 s."""

OVER_REDIS = {name: each for name, each in CASES.items() if each.scheme != "memory"}


@pytest.fixture(scope="module", params=list(OVER_REDIS))
def case(request: pytest.FixtureRequest) -> Case:
    return OVER_REDIS[request.param]


async def test_messages_that_have_arrived_take_few_turns_of_the_event_loop(case: Case, redis_url: str) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    sent = [f"{number}".encode() for number in range(MESSAGES)]
    links = redis_links(on_redis(redis_url, case.scheme), read_timeout=TIMEOUT)
    with fail_after(TIMEOUT), Redis.from_url(redis_url) as other:
        async with links.connect("messages") as connection, create_task_group() as tg:
            await wait_all_tasks_blocked()
            with other.pipeline(transaction=False) as pipeline:
                for message in sent:
                    pipeline.publish("messages", message)
                pipeline.execute()  # blocks the event loop until all have arrived
            tg.start_soon(count)
            received = list(await connection.receive())
            while len(received) < MESSAGES:
                received += await connection.receive()
            tg.cancel_scope.cancel()
    assert received == sent
    assert turns < TURNS
