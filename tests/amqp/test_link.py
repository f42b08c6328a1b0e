"""A link that comes back by itself, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never

import anyio
import pytest
from trio.testing import MockClock

from hub.amqp import LoginRefused
from hub.amqp.session import ReconnectingSession
from hub.errors import ConnectionLost

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Line:
    """A session that ends when it is told to."""

    def __init__(self) -> None:
        self.cut = anyio.Event()

    @property
    def usable(self) -> bool:
        return not self.cut.is_set()

    async def lost(self) -> Never:
        await self.cut.wait()
        raise ConnectionLost("exchange", "cut")


class Exchange:
    """Where lines are opened, while it does not refuse."""

    def __init__(self) -> None:
        self.refuses = False
        self.refusal: ConnectionLost = ConnectionLost("exchange", "not today")
        self.lines: list[Line] = []
        self.open = 0
        self.tries = 0

    @asynccontextmanager
    async def enter(self) -> AsyncGenerator[Line]:
        self.tries += 1
        await anyio.sleep(0.001)
        if self.refuses:
            raise self.refusal
        self.lines.append(Line())
        self.open += 1
        try:
            yield self.lines[-1]
        finally:
            self.open -= 1


async def test_a_session_that_is_lost_is_left_and_entered_anew() -> None:
    exchange = Exchange()
    async with ReconnectingSession(exchange.enter, name="test") as link:
        first = await link.acquire_or_wait()
        seen = [link.connected]
        first.cut.set()
        seen.append(link.connected)
        second = await link.acquire_or_wait()
        assert seen == [True, False]
        assert second is not first
        assert (link.connected, link.reconnects, exchange.open) == (True, 1, 1)
    assert exchange.open == 0


async def test_who_waits_gets_the_session_however_late_it_comes() -> None:
    exchange = Exchange()
    exchange.refuses = True
    async with ReconnectingSession(exchange.enter, name="test") as link, anyio.create_task_group() as tg:
        tg.start_soon(link.acquire_or_wait, name="hub.test waiter")
        await anyio.sleep(3600)
        assert not link.connected
        exchange.refuses = False
    assert len(exchange.lines) == 1


async def test_tries_are_spaced_out_up_to_a_cap() -> None:
    exchange = Exchange()
    exchange.refuses = True
    async with ReconnectingSession(exchange.enter, name="test"):
        await anyio.sleep(1000)
    assert 500 <= exchange.tries <= 1020  # one in 1 to 2 s once the cap is reached


async def test_who_asks_does_not_wait_longer_than_for_one_try_and_hears_why_it_failed() -> None:
    exchange = Exchange()
    exchange.refuses = True
    async with ReconnectingSession(exchange.enter, name="test") as link:
        with pytest.raises(ConnectionLost, match="not today"):
            await link.acquire()
        with pytest.raises(ConnectionLost, match="not today"):
            await link.acquire()
        exchange.refuses = False
        await link.acquire_or_wait()
        exchange.lines[-1].cut.set()
        assert await link.acquire() is exchange.lines[-1]
        assert len(exchange.lines) == 2


async def test_a_lazy_link_connects_when_it_is_wanted() -> None:
    exchange = Exchange()
    async with ReconnectingSession(exchange.enter, name="test", lazy=True) as link:
        await anyio.sleep(100)
        assert (exchange.tries, link.reconnects) == (0, 0)
        await link.acquire_or_wait()
        assert (exchange.tries, link.reconnects) == (1, 0)


async def test_a_waiter_that_is_cancelled_leaves_the_link_alone() -> None:
    exchange = Exchange()
    exchange.refuses = True
    async with ReconnectingSession(exchange.enter, name="test") as link:
        with anyio.move_on_after(1):
            await link.acquire_or_wait()
        exchange.refuses = False
        await link.acquire_or_wait()
        assert exchange.open == 1


async def test_a_bug_in_opening_a_session_ends_the_block() -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[Line]:
        await anyio.sleep(0.001)
        yield next(Line() for _ in range(1 // 0))

    with pytest.RaisesGroup(ZeroDivisionError):
        async with ReconnectingSession(broken, name="test"):
            await anyio.sleep_forever()


async def test_a_first_session_that_is_refused_for_good_ends_the_block() -> None:
    exchange = Exchange()
    exchange.refuses, exchange.refusal = True, LoginRefused("exchange", 403, "ACCESS_REFUSED")
    with pytest.RaisesGroup(LoginRefused):
        async with ReconnectingSession(exchange.enter, name="test"):
            await anyio.sleep_forever()
    assert exchange.tries == 1


@pytest.mark.parametrize("lazy", [False, True])
async def test_a_refusal_is_retried_once_a_session_has_worked_or_another_link_vouches(lazy: bool) -> None:
    exchange = Exchange()
    async with ReconnectingSession(exchange.enter, name="test", lazy=lazy) as link:
        if not lazy:
            await link.acquire_or_wait()
            exchange.lines[-1].cut.set()
        exchange.refuses, exchange.refusal = True, LoginRefused("exchange", 403, "ACCESS_REFUSED")
        with pytest.raises(LoginRefused):
            await link.acquire()
        await anyio.sleep(100)
        exchange.refuses = False
        await link.acquire_or_wait()
    assert exchange.tries > 20
