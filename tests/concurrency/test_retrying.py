from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice, pairwise

import anyio
import pytest
from structlog.testing import capture_logs

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff, retrying
from hub.errors import ConnectionLost, ConnectionRefused

QUICK = ExponentialBackoff(initial=0.001, maximum=0.002)


class Server:
    """Raises its errors, one at each call, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def ask(self) -> str:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def lost(count: int) -> list[Exception]:
    return [ConnectionLost("server", f"loss {number}") for number in range(count)]


def test_delays_double_up_to_the_cap_and_are_jittered() -> None:
    delays = list(islice(ExponentialBackoff(initial=1, maximum=8).intervals(random.Random(7)), 200))
    for number, delay in enumerate(delays):
        upper = min(2**number, 8)
        assert upper / 2 <= delay <= upper
    assert len(set(delays)) == len(delays)


async def test_an_attempt_that_succeeds_is_the_last_one() -> None:
    server, answers, numbers = Server(*lost(3)), list[str](), list[int]()
    async for attempt in retrying(on=ConnectionLost, backoff=QUICK):
        numbers.append(attempt.number)
        with attempt:
            answers.append(await server.ask())
    assert answers == ["answer"]
    assert numbers == [1, 2, 3, 4]


async def test_a_call_returns_what_its_last_attempt_returned() -> None:
    server = Server(*lost(2))
    assert await retrying(on=ConnectionLost, backoff=QUICK).call(server.ask) == "answer"
    assert server.calls == 3


async def test_a_block_may_return_out_of_the_loop() -> None:
    async def asked(server: Server) -> str:
        async for attempt in retrying(on=ConnectionLost, backoff=QUICK):
            with attempt:
                return await server.ask()
        pytest.fail("the loop ends only by an error or a return")

    assert await asked(Server(*lost(1))) == "answer"


async def test_any_other_error_leaves_at_once() -> None:
    server = Server(ValueError("bug"), *lost(1))
    with pytest.raises(ValueError, match="bug"):
        await retrying(on=ConnectionLost, backoff=QUICK).call(server.ask)
    assert server.calls == 1


@pytest.mark.parametrize("on", [(ConnectionLost, TimeoutError), lambda error: not isinstance(error, ConnectionRefused)])
async def test_what_is_retried_may_be_several_classes_or_a_decision(
    on: tuple[type[Exception], ...] | Callable[[Exception], bool],
) -> None:
    server = Server(TimeoutError(), ConnectionLost("server", "gone"))
    assert await retrying(on=on, backoff=QUICK).call(server.ask) == "answer"
    with pytest.raises(ConnectionRefused if callable(on) else ValueError):
        await retrying(on=on, backoff=QUICK).call(
            Server(ConnectionRefused("server", "no") if callable(on) else ValueError()).ask
        )


async def test_pauses_grow_and_are_those_of_the_backoff() -> None:
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    backoff = ExponentialBackoff(initial=1, maximum=8)
    await retrying(on=ConnectionLost, backoff=backoff, sleep=sleep, rng=random.Random(7)).call(Server(*lost(6)).ask)
    expected = backoff.intervals(random.Random(7))
    assert slept == [next(expected) for _ in range(6)]


async def test_the_last_error_leaves_when_the_next_attempt_would_come_after_the_deadline(
    virtual_time: bool, second: float
) -> None:
    start, server = anyio.current_time(), Server(*lost(1000))
    retried = list[Exception]()
    backoff = ExponentialBackoff(initial=second, maximum=4 * second)
    with pytest.raises(ConnectionLost) as caught:
        await retrying(
            on=ConnectionLost,
            backoff=backoff,
            until=start + 30 * second,
            on_retry=lambda error, _: retried.append(error),
        ).call(server.ask)
    assert caught.value.reason == f"loss {server.calls - 1}"
    assert len(retried) == server.calls - 1, "an error that is raised is not announced as retried"
    if virtual_time:
        assert 26 <= anyio.current_time() - start <= 30


async def test_a_deadline_in_the_past_makes_a_single_attempt() -> None:
    server = Server(*lost(2))
    with pytest.raises(ConnectionLost, match="loss 0"):
        await retrying(on=ConnectionLost, until=anyio.current_time()).call(server.ask)
    assert server.calls == 1


async def test_an_attempt_that_works_makes_the_next_pause_short_again() -> None:
    pauses, runs = list[float](), 0
    async for attempt in retrying(
        on=ConnectionLost,
        backoff=ExponentialBackoff(initial=0.001, maximum=10),
        on_retry=lambda _, delay: pauses.append(delay),
    ):
        runs += 1
        with attempt:
            if runs == 4:
                attempt.reset()
            if runs < 6:
                raise ConnectionLost("server", "test")
    grown, fresh = pauses[:3], pauses[3:]
    assert all(earlier < later or later >= 0.002 for earlier, later in pairwise(grown))
    assert grown[2] >= 0.002
    assert fresh[0] <= 0.001


async def test_each_loop_begins_with_a_fresh_backoff() -> None:
    pauses = list[float]()
    for _ in range(3):
        await retrying(
            on=ConnectionLost,
            backoff=ExponentialBackoff(initial=0.001, maximum=10),
            on_retry=lambda _, delay: pauses.append(delay),
        ).call(Server(*lost(1)).ask)
    assert len(pauses) == 3
    assert max(pauses) <= 0.001


async def test_a_cancellation_ends_the_loop_during_an_attempt() -> None:
    attempts = 0
    with anyio.move_on_after(0.01) as scope:
        async for attempt in retrying(on=Exception, backoff=QUICK):
            with attempt:
                attempts += 1
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert attempts == 1


async def test_a_cancellation_ends_the_loop_during_a_pause() -> None:
    server = Server(*lost(10))
    with anyio.move_on_after(0.01) as scope:
        await retrying(on=ConnectionLost, backoff=ExponentialBackoff(initial=1000, maximum=1000)).call(server.ask)
    assert scope.cancelled_caught
    assert server.calls == 1


async def test_a_pause_can_be_cut_short() -> None:
    """As for a stream that ends when its server drains."""
    draining = anyio.Event()

    async def sleep(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await draining.wait()

    server = Server(*lost(1))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tg:
            tg.start_soon(
                retrying(on=ConnectionLost, backoff=ExponentialBackoff(initial=1000, maximum=1000), sleep=sleep).call,
                server.ask,
            )
            await anyio.wait_all_tasks_blocked()
            assert server.calls == 1
            draining.set()
    assert server.calls == 2


async def test_a_deadline_for_each_attempt_stands_inside_the_block() -> None:
    attempts = 0
    async for attempt in retrying(on=TimeoutError, backoff=QUICK):
        with attempt, anyio.fail_after(0.01 if attempt.number < 3 else 5):
            attempts += 1
            if attempts < 3:
                await anyio.sleep_forever()
    assert attempts == 3


async def test_retries_are_logged_as_the_attempts_of_a_connection() -> None:
    log = AttemptLog("store", failing="outcomes are not stored, trying again")
    with capture_logs() as lines:
        await retrying(on=(ConnectionLost, TimeoutError), backoff=QUICK, on_retry=log.on_retry).call(
            Server(ConnectionLost("server", "gone")).ask
        )
        await retrying(on=(ConnectionLost, TimeoutError), backoff=QUICK, on_retry=AttemptLog("store").on_retry).call(
            Server(TimeoutError()).ask
        )
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("outcomes are not stored, trying again", "gone"),
        ("not connected yet, trying again", "no answer in time"),
    ]
