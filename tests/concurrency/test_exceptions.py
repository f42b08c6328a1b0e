from __future__ import annotations

import anyio
import pytest

from hub.concurrency.exceptions import collapse_exception_group, iterate_exceptions
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused


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


def test_a_refusal_among_lost_connections_is_the_one_that_leaves() -> None:
    with pytest.raises(ConnectionRefused, match="wrong password"), collapse_exception_group():
        raise ExceptionGroup("group", [ConnectionLost("server", "gone"), ConnectionRefused("server", "wrong password")])


def test_different_errors_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup), collapse_exception_group():
        raise ExceptionGroup("group", [ConnectionLost("server", "test"), ValueError("bug")])
    with pytest.raises(ExceptionGroup), collapse_exception_group():
        raise ExceptionGroup("group", [ValueError("one bug"), ValueError("another bug")])


def test_a_group_that_holds_a_cancellation_stays_a_group() -> None:
    with pytest.raises(BaseExceptionGroup), collapse_exception_group():
        raise BaseExceptionGroup("group", [KeyboardInterrupt()])


def test_an_error_without_a_group_passes() -> None:
    error = ConfigurationError("wrong")
    with pytest.raises(ConfigurationError) as caught, collapse_exception_group():
        raise error
    assert caught.value is error


async def test_the_error_of_a_task_leaves_the_group_of_its_siblings() -> None:
    async def fail() -> None:
        raise ConnectionLost("server", "test")

    with anyio.fail_after(5), pytest.raises(ConnectionLost):  # noqa: PT012 - the block is what is tested
        with collapse_exception_group():
            async with anyio.create_task_group() as tg:
                tg.start_soon(anyio.sleep_forever)
                tg.start_soon(fail)


async def test_a_cancellation_from_outside_passes() -> None:
    with anyio.move_on_after(0.01) as scope, collapse_exception_group():
        async with anyio.create_task_group() as tg:  # noqa: ASYNC112 - the group is what is tested
            tg.start_soon(anyio.sleep_forever)
    assert scope.cancelled_caught


def test_the_errors_of_nested_groups_come_in_order() -> None:
    one, two, three = ValueError("1"), TypeError("2"), KeyboardInterrupt()
    nested = BaseExceptionGroup("outer", [one, BaseExceptionGroup("inner", [two, three])])
    assert list(iterate_exceptions(nested)) == [one, two, three]
    assert list(iterate_exceptions(one)) == [one]
