"""When a channel that only gets `basic.nack` is given up. Times are virtual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never

import anyio
import pytest
from anyio import create_task_group, fail_after, sleep, wait_all_tasks_blocked
from trio.testing import MockClock

from hub.brokers.publishing import FIRST_RENEWAL, LAST_RENEWAL, RenewingPublisher
from hub.errors import ConnectionLost, PublishRefused, QueueFull, Unroutable


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Channel:
    """Answers what it is told to, after as many seconds as the message says."""

    def __init__(self, answer: PublishRefused | None = None) -> None:
        self.answer = answer
        self.usable = True
        self.failed = anyio.Event()

    async def publish(self, messages: Sequence[float]) -> Sequence[PublishRefused | None]:
        await sleep(max(messages))
        return [self.answer for _ in messages]

    async def lost(self) -> Never:
        await self.failed.wait()
        raise ConnectionLost("amqp://a", "reset")


def is_usable(publishing: RenewingPublisher[float]) -> bool:
    """For mypy, to which a property does not change."""
    return publishing.usable


NACK = QueueFull("Q", "basic.nack")


async def test_a_nack_ends_a_channel_that_is_old_enough() -> None:
    with fail_after(10):
        publishing = RenewingPublisher(Channel(NACK), server="amqp://a")
        assert list(await publishing.publish([0.0])) == [NACK]
        assert publishing.usable, "a moment after it was opened a nack changes nothing"
        await sleep(FIRST_RENEWAL)
        assert list(await publishing.publish([0.0])) == [NACK], "the refusal stands"
        assert not is_usable(publishing)
        with pytest.raises(ConnectionLost, match=r"basic\.nack"):
            await publishing.lost()


@pytest.mark.parametrize("answer", [None, Unroutable("Q", "no such queue")])
async def test_other_answers_end_nothing(answer: PublishRefused | None) -> None:
    publishing = RenewingPublisher(Channel(answer), server="amqp://a")
    await sleep(FIRST_RENEWAL)
    await publishing.publish([0.0])
    assert publishing.usable
    assert publishing.next_keep == FIRST_RENEWAL


async def test_what_is_in_flight_is_waited_for() -> None:
    ended: list[float] = []
    channel = Channel(NACK)
    publishing = RenewingPublisher(channel, server="amqp://a")

    async def wait_for_the_end() -> None:
        with pytest.raises(ConnectionLost, match=r"basic\.nack"):
            await publishing.lost()
        ended.append(anyio.current_time())

    await sleep(FIRST_RENEWAL)
    began = anyio.current_time()
    with fail_after(60):
        async with create_task_group() as tg:
            tg.start_soon(wait_for_the_end)
            tg.start_soon(publishing.publish, [5.0])
            await wait_all_tasks_blocked()
            await publishing.publish([1.0])
            assert not publishing.usable, "new messages wait for the next channel"
            assert not ended
    assert ended == [pytest.approx(began + 5.0)]


async def test_channels_are_kept_longer_while_nacks_go_on() -> None:
    keep, kept = FIRST_RENEWAL, list[float]()
    for _ in range(10):
        publishing = RenewingPublisher(Channel(NACK), server="amqp://a", keep=keep)
        await sleep(keep)
        await publishing.publish([0.0])
        keep = publishing.next_keep
        kept.append(keep)
    assert kept[:5] == [2, 4, 8, 16, 32]
    assert kept[-1] == LAST_RENEWAL


async def test_a_lost_connection_is_heard_of_as_such() -> None:
    channel = Channel()
    publishing = RenewingPublisher(channel, server="amqp://a", keep=32)
    channel.failed.set()
    with fail_after(5), pytest.raises(ConnectionLost, match="reset"):
        await publishing.lost()
    assert publishing.next_keep == FIRST_RENEWAL
