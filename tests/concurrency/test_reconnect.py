from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import anyio
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


async def test_a_session_is_entered_again_after_each_lost_connection_until_it_returns() -> None:
    runs = 0

    async def session(connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        connected()
        if runs < 4:
            raise ConnectionLost("server", "test")

    await run_reconnecting(session, name="test")
    assert runs == 4


async def test_a_connection_that_worked_makes_the_next_pause_short_again() -> None:
    times: list[float] = []

    async def session(connected: Callable[[], None]) -> None:
        times.append(anyio.current_time())
        if len(times) == 6:
            connected()  # the next pause is short again
        if len(times) < 8:
            raise ConnectionLost("server", "test")

    await run_reconnecting(session, name="test", backoff=ExponentialBackoff(initial=1, maximum=100))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[4] >= 8
    assert waits[5] <= 1


async def test_a_first_connection_that_never_works_raises_its_error_in_time() -> None:
    async def session(_connected: Callable[[], None]) -> None:
        raise ConnectionLost("server", "refused")

    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="refused"):
        await run_reconnecting(session, name="test", retry_for=30)
    assert 20 < anyio.current_time() - start <= 30


async def test_a_connection_that_once_worked_is_retried_without_a_limit() -> None:
    runs = 0

    async def session(connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            connected()
        if runs < 100:
            raise ConnectionLost("server", "refused")

    await run_reconnecting(session, name="test", retry_for=5)
    assert runs == 100


async def test_any_other_error_is_raised() -> None:
    async def session(_connected: Callable[[], None]) -> None:
        async with anyio.create_task_group():
            raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError, match="wrong"):
        await run_reconnecting(session, name="test")


async def test_a_cancellation_ends_the_pause_between_two_sessions() -> None:
    async def session(_connected: Callable[[], None]) -> None:
        raise ConnectionLost("server", "refused")

    with anyio.move_on_after(100) as scope:
        await run_reconnecting(session, name="test")
    assert scope.cancelled_caught


async def test_a_first_connection_that_is_refused_is_not_retried() -> None:
    runs = 0

    async def session(_connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        raise ConnectionRefused("server", "wrong password")

    with pytest.raises(ConnectionRefused, match="wrong password"):
        await run_reconnecting(session, name="test")
    assert runs == 1


async def test_a_refusal_after_a_connection_that_worked_is_retried() -> None:
    runs = 0

    async def session(connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs in (1, 30):
            connected()
        if runs == 1:
            raise ConnectionLost("server", "restarts")
        if runs < 30:
            raise ConnectionRefused("server", "wrong password")

    await run_reconnecting(session, name="test")
    assert runs == 30


async def test_an_attempt_without_an_answer_is_cancelled_when_the_time_is_over() -> None:
    async def mute(_connected: Callable[[], None]) -> None:
        await anyio.sleep_forever()

    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="no answer within 4 s"):
        await run_reconnecting(mute, name="test", retry_for=4)
    assert anyio.current_time() - start == 4


async def test_a_connection_that_works_is_not_cancelled_when_the_time_is_over() -> None:
    async def session(connected: Callable[[], None]) -> None:
        connected()
        await anyio.sleep(100)

    await run_reconnecting(session, name="test", retry_for=4)


async def test_failed_attempts_are_logged_with_growing_gaps() -> None:
    up_at, down_at = 300.0, 400.0
    start = anyio.current_time()

    async def session(connected: Callable[[], None]) -> None:
        now = anyio.current_time() - start
        if now < up_at or down_at <= now < 410:
            raise ConnectionLost("server", "no route")
        connected()
        if now < down_at:
            await anyio.sleep(down_at - now)
            raise ConnectionLost("server", "restarts")

    with capture_logs() as lines:
        await run_reconnecting(session, name="broker")
    events = [line["event"] for line in lines]
    before, after = events[: events.index("connected")], events[events.index("connected") + 1 :]
    assert set(before) == {"not connected yet, trying again"}
    assert 7 <= len(before) <= 11  # at 0, 2, 6, 14, 30, 62, 122, 182, 242 s; about 200 attempts
    assert set(after) == {"connection lost, trying again", "connected again"}
    assert after.count("connection lost, trying again") <= 4
    assert lines[0]["reason"] == "no route"
    assert lines[0]["target"] == "broker"
    assert sum(line.get("attempts", 0) for line in lines[len(before) - 1 : len(before)]) > 100


async def test_the_last_error_is_raised_when_an_attempt_is_cancelled_at_the_end() -> None:
    runs = 0

    async def session(_connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ConnectionLost("server", "no route")
        await anyio.sleep_forever()

    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="no route"):
        await run_reconnecting(session, name="test", retry_for=4)
    assert anyio.current_time() - start == 4


async def test_refusals_of_the_first_connection_are_retried_on_demand() -> None:
    runs = 0

    async def session(_connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise ConnectionRefused("server", "wrong password")

    await run_reconnecting(session, name="test", retry_refusals=True)
    assert runs == 4


async def test_a_connection_that_is_wanted_once_is_not_made_again_after_it_worked() -> None:
    runs = 0

    async def session(connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            connected()
        raise ConnectionLost("server", f"loss {runs}")

    with pytest.raises(ConnectionLost, match="loss 3"):
        await run_reconnecting(session, name="test", once=True)


async def test_several_tasks_that_lose_one_connection_are_one_loss() -> None:
    runs = 0

    async def use() -> None:
        raise ConnectionLost("server", "restarts")

    async def session(connected: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        connected()
        if runs < 3:
            async with anyio.create_task_group() as tg:
                tg.start_soon(use)
                tg.start_soon(use)

    await run_reconnecting(session, name="test")
    assert runs == 3
