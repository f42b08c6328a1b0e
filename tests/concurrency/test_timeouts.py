from __future__ import annotations

import anyio
import pytest

from hub.concurrency.timeouts import connection_timeout, timeout_as
from hub.errors import ConnectionLost


class TooLate(Exception):
    pass


async def test_the_deadline_of_the_block_is_raised_as_the_error() -> None:
    with pytest.raises(TooLate) as caught:
        with timeout_as(TooLate, 0.01):
            await anyio.sleep_forever()
    assert caught.value.__suppress_context__  # no traceback of a cancellation above it


async def test_a_block_that_ends_in_time_raises_nothing_and_makes_no_error() -> None:
    def made() -> Exception:
        pytest.fail("the deadline has not passed")

    with timeout_as(made, 5):
        await anyio.lowlevel.checkpoint()
    with timeout_as(made, None):
        await anyio.lowlevel.checkpoint()


async def test_a_timeout_error_from_inside_the_block_is_not_translated() -> None:
    with pytest.raises(TimeoutError, match="of the kernel"), timeout_as(TooLate, 5):
        raise TimeoutError("of the kernel")
    with pytest.raises(TimeoutError), timeout_as(TooLate, 5), anyio.fail_after(0.01):
        await anyio.sleep_forever()


async def test_a_cancellation_from_outside_is_not_translated() -> None:
    with anyio.move_on_after(0.01) as outer:
        with timeout_as(TooLate, 5):
            await anyio.sleep_forever()
    assert outer.cancelled_caught


async def test_another_error_at_the_deadline_is_raised_as_it_is() -> None:
    async def fail_on_the_way_out() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cleanup failed")

    with pytest.raises(ValueError, match="cleanup failed"), timeout_as(TooLate, 0.01):
        await fail_on_the_way_out()


async def test_a_block_that_is_cancelled_by_its_own_scope_raises_nothing() -> None:
    with timeout_as(TooLate, 5) as scope:
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_deadline_can_be_moved() -> None:
    with anyio.fail_after(5), pytest.raises(TooLate):  # noqa: PT012 - the block is what is tested
        with timeout_as(TooLate, 1000) as scope:
            scope.deadline = anyio.current_time()
            await anyio.sleep_forever()


async def test_a_shielded_block_keeps_its_own_deadline() -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with pytest.raises(TooLate), timeout_as(TooLate, 0.01, shield=True):
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
    assert outer.cancelled_caught


async def test_a_server_that_does_not_answer_counts_as_lost() -> None:
    with pytest.raises(ConnectionLost, match=r"the directory.*no answer within 0\.01 s"):
        with connection_timeout("the directory", 0.01):
            await anyio.sleep_forever()
