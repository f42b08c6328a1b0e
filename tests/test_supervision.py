from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice, pairwise

import anyio
import pytest
from trio.testing import MockClock

from hub.errors import ConfigurationError, LinkLost
from hub.supervision import Backoff, keep_linked, unwrapped


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def test_delays_double_up_to_the_cap_and_are_jittered() -> None:
    delays = list(islice(Backoff(first=1, cap=8).delays(random.Random(7)), 200))
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
            raise LinkLost("server", "test")

    await keep_linked(session, name="test")
    assert runs == 4


async def test_a_link_that_worked_resets_the_delays() -> None:
    times: list[float] = []

    async def session(linked: Callable[[], None]) -> None:
        times.append(anyio.current_time())
        if len(times) == 6:
            linked()  # this one works, so the next wait is short again
        if len(times) < 8:
            raise LinkLost("server", "test")

    await keep_linked(session, name="test", backoff=Backoff(first=1, cap=100))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[4] >= 8
    assert waits[5] <= 1


async def test_a_first_link_that_never_works_is_given_up() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        raise LinkLost("server", "refused")

    start = anyio.current_time()
    with pytest.raises(LinkLost, match="refused"):
        await keep_linked(session, name="test", give_up_after=30)
    assert 20 < anyio.current_time() - start <= 30


async def test_a_link_that_once_worked_is_never_given_up() -> None:
    runs = 0

    async def session(linked: Callable[[], None]) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            linked()
        if runs < 100:
            raise LinkLost("server", "refused")

    await keep_linked(session, name="test", give_up_after=5)
    assert runs == 100


async def test_any_other_error_ends_the_supervision() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        async with anyio.create_task_group():
            raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError, match="wrong"):
        await keep_linked(session, name="test")


async def test_supervision_can_be_cancelled_between_two_runs() -> None:
    async def session(_linked: Callable[[], None]) -> None:
        raise LinkLost("server", "refused")

    with anyio.move_on_after(100) as scope:
        await keep_linked(session, name="test")
    assert scope.cancelled_caught


def test_a_lone_error_leaves_its_groups_with_its_own_context() -> None:
    cause = ValueError("cause")
    error = LinkLost("server", "test")
    error.__context__ = cause
    with pytest.raises(LinkLost) as caught, unwrapped():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])
    assert caught.value is error
    assert error.__context__ is cause


def test_errors_of_one_kind_leave_as_the_first_of_them() -> None:
    with pytest.raises(LinkLost, match="first"), unwrapped():
        raise ExceptionGroup("group", [LinkLost("server", "first"), LinkLost("server", "second")])


def test_different_errors_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup), unwrapped():
        raise ExceptionGroup("group", [LinkLost("server", "test"), ValueError("bug")])


def test_a_group_that_holds_a_cancellation_stays_a_group() -> None:
    with pytest.raises(BaseExceptionGroup), unwrapped():
        raise BaseExceptionGroup("group", [KeyboardInterrupt()])
