"""How an instance stays on the registry's list, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest
import trio.testing

from hub.errors import ConnectionLost
from hub.model.instance.registration import LOGOUT_TIMEOUT, MIN_UPDATE_INTERVAL, Registration
from hub.ports.directory import ModelLimits
from hub.registry.client.errors import NameTaken
from hub.registry.client.login import LoginRequest, LoginResult
from hub.types import InstanceId, InstanceState
from tests.model.fakes import CONTRACT, ECHO, INSTANCE

PERIOD = 10.0
RESULT = LoginResult(state=InstanceState.LIVE, accepts=frozenset())
REQUEST = LoginRequest(
    instance=INSTANCE,
    model=ECHO,
    url="http://127.0.0.1:4000",
    contract=CONTRACT,
    example='{"messages": "hi"}',
    limits=ModelLimits(concurrency=3, default_timeout=20.0, max_timeout=60.0),
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class FakeRegistry:
    """A registry in memory. While it is `down` it cannot be reached, while it is `stuck` it never answers.

    At each login it looks at `consuming`, as a ping would, and answers `slowness` seconds later.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.admitted: list[LoginResult] = []
        self.consuming = True
        self.loadings: list[bool] = []
        self.seen: list[tuple[float, bool]] = []
        self.slowness = 0.0
        self.down = False
        self.stuck = False
        self.taken = False

    async def login(self, request: LoginRequest) -> LoginResult:
        await self._answer("login")
        if self.taken:
            raise NameTaken(request.model, ["it differs"], ["http://10.0.0.7:1"])
        self.loadings.append(request.loading)
        self.seen.append((anyio.current_time(), self.consuming))
        assert request == replace(REQUEST, consuming=self.consuming, loading=request.loading)
        await anyio.sleep(self.slowness)
        return RESULT

    async def logout(self, instance: InstanceId) -> None:
        assert instance == INSTANCE
        await self._answer("logout")

    async def _answer(self, call: str) -> None:
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if self.stuck:
            await anyio.sleep_forever()
        if self.down:
            raise ConnectionLost("registry", "down")


def membership(
    registry: FakeRegistry, *, pinged_at: Callable[[], float] = lambda: 0.0, start_timeout: float = 60.0
) -> Registration:
    return Registration(
        registry,
        REQUEST,
        pinged_at=pinged_at,
        ping_period=PERIOD,
        start_timeout=start_timeout,
        on_login=registry.admitted.append,
    )


async def test_a_member_logs_in_on_entry_and_out_on_exit() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry):
            assert registry.calls == ["login"]
            assert registry.admitted == [RESULT]
        assert registry.calls == ["login", "logout"]


async def test_a_member_that_is_pinged_never_logs_in_again() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(10_000):
        async with membership(registry, pinged_at=anyio.current_time):
            await anyio.sleep(1000)
    assert registry.calls == ["login", "logout"]


async def test_a_member_that_is_not_pinged_for_three_periods_logs_in_again() -> None:
    registry = FakeRegistry()
    pinged = 0.0
    with anyio.fail_after(10_000):
        async with membership(registry, pinged_at=lambda: pinged):
            await anyio.sleep(25)
            pinged = anyio.current_time()
            await anyio.sleep(29)
            assert registry.calls == ["login"]
            await anyio.sleep(2)
            assert registry.calls == ["login", "login"]
            assert len(registry.seen) == 2


async def test_a_registry_that_goes_away_is_waited_for() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(10_000):
        async with membership(registry):
            registry.down = True
            await anyio.sleep(600)
            registry.down = False
            await anyio.sleep(5)
            assert len(registry.seen) == 2


async def test_a_registry_that_never_answers_does_not_keep_the_start_waiting() -> None:
    registry = FakeRegistry()
    registry.stuck = True
    with anyio.fail_after(100), pytest.raises(ConnectionLost, match="no answer within"):
        async with membership(registry, start_timeout=20):
            pytest.fail("entered")


async def test_a_start_gives_up_when_the_registry_stays_away() -> None:
    registry = FakeRegistry()
    registry.down = True
    began = anyio.current_time()
    with anyio.fail_after(1000), pytest.raises(ConnectionLost, match="down"):
        async with membership(registry, start_timeout=20):
            pytest.fail("entered")
    assert 17 < anyio.current_time() - began < 24


async def test_a_name_that_is_taken_ends_the_start_at_once() -> None:
    registry = FakeRegistry()
    registry.taken = True
    with anyio.fail_after(1), pytest.raises(NameTaken):
        async with membership(registry):
            pytest.fail("entered")
    assert registry.calls.count("login") == 1


async def test_a_name_that_was_lost_meanwhile_ends_the_block() -> None:
    registry = FakeRegistry()

    async def stay() -> None:
        async with membership(registry):
            registry.taken = True
            await anyio.sleep_forever()

    with anyio.fail_after(1000), pytest.raises(ExceptionGroup) as caught:
        await stay()
    assert caught.group_contains(NameTaken)


async def test_a_logout_that_hangs_or_fails_does_not_hold_the_exit_up() -> None:
    for trouble in ("stuck", "down"):
        registry = FakeRegistry()
        with anyio.fail_after(100):
            async with membership(registry):
                setattr(registry, trouble, True)
                began = anyio.current_time()
        assert registry.calls == ["login", "logout"]
        assert anyio.current_time() - began <= LOGOUT_TIMEOUT + 0.1


async def test_a_cancelled_member_logs_out_all_the_same() -> None:
    registry = FakeRegistry()
    with anyio.move_on_after(1):
        async with membership(registry):
            await anyio.sleep_forever()
    assert registry.calls == ["login", "logout"]


def change(registry: FakeRegistry, member: Registration, consuming: bool) -> None:
    """The instance stops or starts to consume, and says so."""
    registry.consuming = consuming
    member.update_consuming(consuming)


async def test_a_member_that_goes_deaf_or_hears_again_says_so_at_once_and_once() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            await anyio.sleep(1)
            began = anyio.current_time()
            for consuming in (True, False, False, True, True):
                change(registry, member, consuming)
                await anyio.sleep(1)
    assert registry.seen[1:] == [(began + 1, False), (began + 3, True)]


async def test_what_is_taken_back_before_it_was_told_is_no_news() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            await anyio.sleep(MIN_UPDATE_INTERVAL / 2)
            change(registry, member, False)
            await anyio.sleep(MIN_UPDATE_INTERVAL / 4)
            change(registry, member, True)
            await anyio.sleep(100 * MIN_UPDATE_INTERVAL / 4)
    assert registry.calls == ["login", "logout"]


async def test_a_link_that_flaps_costs_five_logins_a_second_and_the_last_word_is_told() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            for step in range(1001):
                change(registry, member, step % 2 == 1)
                await anyio.sleep(0.010037)  # no multiple of it is one of the gap: a change never falls on a login
            await anyio.sleep(1)
    times = [when for when, _ in registry.seen]
    assert 20 < len(times) < 53
    assert min(later - earlier for earlier, later in pairwise(times)) > MIN_UPDATE_INTERVAL - 1e-6
    assert registry.seen[-1][1] is False


async def test_what_changes_while_the_registry_looks_is_told_again() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            await anyio.sleep(1)
            registry.slowness = 1.0
            change(registry, member, False)
            await anyio.sleep(0.5)
            change(registry, member, True)
            await anyio.sleep(5)
            assert [seen for _, seen in registry.seen] == [True, False, True]


async def test_what_changes_there_and_back_while_the_registry_looks_is_told_again() -> None:
    registry = FakeRegistry()
    registry.slowness = 1.0
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=lambda: 0.0) as member:
            await anyio.sleep(3 * PERIOD + 0.5)  # the login of one that is not pinged is under way
            change(registry, member, False)
            await anyio.sleep(0.1)
            change(registry, member, True)
            await anyio.sleep(5)
            assert len(registry.seen) == 3


async def test_a_change_that_was_noted_before_the_first_login_needs_no_second_one() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        member = membership(registry, pinged_at=anyio.current_time)
        change(registry, member, False)
        async with member:
            await anyio.sleep(1)
    assert registry.calls == ["login", "logout"]


async def test_updates_wait_for_a_registry_that_is_out_of_reach() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(1000):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            registry.down = True
            change(registry, member, False)
            await anyio.sleep(60)
            change(registry, member, True)
            await anyio.sleep(60)
            change(registry, member, False)
            assert len(registry.calls) < 100, "it is asked with backoff"
            registry.down = False
            await anyio.sleep(3)
            assert [seen for _, seen in registry.seen] == [True, False]


async def test_news_for_a_registry_that_never_answers_do_not_hold_the_exit_up() -> None:
    registry = FakeRegistry()
    with anyio.fail_after(100):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            await anyio.sleep(1)
            registry.stuck = True
            change(registry, member, False)
            await anyio.sleep(1)
            began = anyio.current_time()
        assert anyio.current_time() - began <= LOGOUT_TIMEOUT + 0.1
    assert registry.calls == ["login", "login", "logout"]


async def test_a_member_that_leaves_does_not_log_in_to_say_that_it_consumes_no_more() -> None:
    registry = FakeRegistry()
    with anyio.move_on_after(5):
        async with membership(registry, pinged_at=anyio.current_time) as member:
            try:
                await anyio.sleep_forever()
            finally:
                change(registry, member, False)
    assert registry.calls == ["login", "logout"]
