from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import islice, pairwise

import anyio
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import ExponentialBackoff
from hub.concurrency.services import hold_open
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def test_delays_double_up_to_the_cap_and_are_jittered() -> None:
    delays = list(islice(ExponentialBackoff(initial=1, maximum=8).intervals(random.Random(7)), 200))
    for number, delay in enumerate(delays):
        upper = min(2**number, 8)
        assert upper / 2 <= delay <= upper
    assert len(set(delays)) == len(delays)


async def test_a_session_is_entered_again_after_each_lost_link_until_it_returns() -> None:
    runs = 0

    async def session(linked: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        linked()
        if runs < 4:
            raise ConnectionLost("server", "test")

    await run_reconnecting(session, name="test")
    assert runs == 4


async def test_a_link_that_worked_resets_the_delays() -> None:
    times: list[float] = []

    async def session(linked: Callable[[], None]) -> None:
        times.append(anyio.current_time())
        if len(times) == 6:
            linked()  # this one works, so the next wait is short again
        if len(times) < 8:
            raise ConnectionLost("server", "test")

    await run_reconnecting(session, name="test", backoff=ExponentialBackoff(initial=1, maximum=100))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[4] >= 8
    assert waits[5] <= 1


async def test_a_first_link_that_never_works_is_given_up() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        raise ConnectionLost("server", "refused")

    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="refused"):
        await run_reconnecting(session, name="test", give_up_after=30)
    assert 20 < anyio.current_time() - start <= 30


async def test_a_link_that_once_worked_is_never_given_up() -> None:
    runs = 0

    async def session(linked: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            linked()
        if runs < 100:
            raise ConnectionLost("server", "refused")

    await run_reconnecting(session, name="test", give_up_after=5)
    assert runs == 100


async def test_any_other_error_ends_the_supervision() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        async with anyio.create_task_group():
            raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError, match="wrong"):
        await run_reconnecting(session, name="test")


async def test_supervision_can_be_cancelled_between_two_runs() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        raise ConnectionLost("server", "refused")

    with anyio.move_on_after(100) as scope:
        await run_reconnecting(session, name="test")
    assert scope.cancelled_caught


def test_a_lone_error_leaves_its_groups_with_its_own_context() -> None:
    cause = ValueError("cause")
    error = ConnectionLost("server", "test")
    error.__context__ = cause
    with pytest.raises(ConnectionLost) as caught, collapse_exception_group():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert caught.value is error
    assert error.__context__ is cause


def test_errors_of_one_kind_leave_as_the_first_of_them() -> None:
    with pytest.raises(ConnectionLost, match="first"), collapse_exception_group():
        raise ExceptionGroup("group", [ConnectionLost("server", "first"), ConnectionLost("server", "second")])


def test_different_errors_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup), collapse_exception_group():
        raise ExceptionGroup("group", [ConnectionLost("server", "test"), ValueError("bug")])


def test_a_group_that_holds_a_cancellation_stays_a_group() -> None:
    with pytest.raises(BaseExceptionGroup), collapse_exception_group():
        raise BaseExceptionGroup("group", [KeyboardInterrupt()])


async def test_a_first_link_that_is_refused_is_not_tried_again() -> None:
    runs = 0

    async def session(_linked: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        raise ConnectionRefused("server", "wrong password")

    with pytest.raises(ConnectionRefused, match="wrong password"):
        await run_reconnecting(session, name="test")
    assert runs == 1


async def test_a_refusal_after_a_link_that_worked_is_tried_again() -> None:
    runs = 0

    async def session(linked: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs in (1, 30):
            linked()
        if runs == 1:
            raise ConnectionLost("server", "restarts")
        if runs < 30:
            raise ConnectionRefused("server", "wrong password")

    await run_reconnecting(session, name="test")
    assert runs == 30


async def test_an_attempt_that_is_not_answered_is_cancelled_when_patience_ends() -> None:
    async def mute(_linked: Callable[[], None]) -> None:
        await anyio.sleep_forever()

    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="no answer within 4 s"):
        await run_reconnecting(mute, name="test", give_up_after=4)
    assert anyio.current_time() - start == 4


async def test_a_link_that_works_is_not_cut_when_patience_ends() -> None:
    async def session(linked: Callable[[], None]) -> None:
        linked()
        await anyio.sleep(100)

    await run_reconnecting(session, name="test", give_up_after=4)


async def test_opening_a_resource_keeps_to_its_patience_and_does_not_retry_a_refusal() -> None:
    attempts = 0

    @asynccontextmanager
    async def mute() -> AsyncGenerator[None]:
        await anyio.sleep_forever()
        yield

    @asynccontextmanager
    async def refusing() -> AsyncGenerator[None]:
        nonlocal attempts
        attempts += 1
        if attempts != 3:
            raise ConnectionLost("server", "no route")
        if attempts:
            raise ConnectionRefused("server", "wrong password")
        yield

    start = anyio.current_time()
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="link to store lost: no answer within 6 s")):
        async with hold_open(mute, name="store", retry_for=6):
            pytest.fail("it does not open")
    assert anyio.current_time() - start == 6
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionRefused, match="wrong password")):
        async with hold_open(refusing, name="store", retry_for=600):
            pytest.fail("it does not open")
    assert attempts == 3


async def test_failed_attempts_are_logged_with_growing_gaps_and_as_what_they_are() -> None:
    up_at, down_at = 300.0, 400.0
    start = anyio.current_time()

    async def session(linked: Callable[[], None]) -> None:
        now = anyio.current_time() - start
        if now < up_at or down_at <= now < 410:
            raise ConnectionLost("server", "no route")
        linked()
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
