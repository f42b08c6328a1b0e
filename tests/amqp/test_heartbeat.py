"""Signs of life, in virtual time."""

from __future__ import annotations

import anyio
import pytest
from pamqp import commands
from trio.testing import MockClock

from hub.amqp import AmqpConnection, AmqpOptions
from hub.errors import ConnectionLost
from tests.amqp.fakes import ADDRESS, FakeBroker, Wire, marshal

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def willing() -> FakeBroker:
    """A broker that leaves the heartbeat to us."""
    tune = commands.Connection.Tune(channel_max=0, frame_max=0, heartbeat=0)
    return FakeBroker(answers={commands.Connection.StartOk: lambda _channel, _method: marshal(0, tune)})


async def test_a_server_that_sends_nothing_counts_as_lost_after_two_heartbeats() -> None:
    async with AmqpConnection(Wire(willing()), ADDRESS, AmqpOptions(heartbeat=10)) as connection:
        since = anyio.current_time()
        with pytest.raises(ConnectionLost, match="nothing received for"):
            await connection.lost()
        assert 20 <= anyio.current_time() - since <= 25


async def test_a_server_that_shows_life_is_kept_and_shown_life() -> None:
    wire = Wire(willing())
    async with AmqpConnection(wire, ADDRESS, AmqpOptions(heartbeat=10)) as connection:
        for _ in range(100):
            await anyio.sleep(10)
            wire.say(HEARTBEAT)
        assert connection.usable
    assert wire.sent.count(HEARTBEAT) >= 100


async def test_without_a_heartbeat_a_server_that_sends_nothing_is_kept() -> None:
    async with AmqpConnection(Wire(willing()), ADDRESS, AmqpOptions(heartbeat=0)) as connection:
        await anyio.sleep(50_000)
        assert connection.usable


async def test_a_login_that_gets_no_answer_ends_in_time() -> None:
    wire = Wire(FakeBroker(answers={commands.Connection.StartOk: lambda _channel, _method: b""}))
    since = anyio.current_time()
    with pytest.raises(ConnectionLost, match="no login within 7 s"):
        async with AmqpConnection(wire, ADDRESS, AmqpOptions(connect_timeout=7)):
            pytest.fail("there was no login")
    assert anyio.current_time() - since == pytest.approx(7)


async def test_a_close_without_an_answer_does_not_delay_the_exit_for_long() -> None:
    broker = FakeBroker()
    async with AmqpConnection(Wire(broker), ADDRESS, AmqpOptions(heartbeat=0)) as connection, connection.channel():
        broker.held = []
        since = anyio.current_time()
    assert anyio.current_time() - since <= 4
