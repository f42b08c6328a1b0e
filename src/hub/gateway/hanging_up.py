"""Clients that do not wait for their answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import CancelScope, create_task_group
from litestar.types import Receive

from hub.gateway.errors import HungUp
from hub.supervision import unwrapped

T = TypeVar("T")


async def while_connected(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Does `work` for a client, and cancels it when the client closes its connection first.

    Args:
        receive: Of the request, whose body has been read.
        work: Gives what the client waits for.

    Raises:
        HungUp: The client has closed its connection.
    """
    results: list[T] = []
    watching = CancelScope()
    with unwrapped():
        async with create_task_group() as tg:

            async def watch() -> None:
                with watching:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tg.cancel_scope.cancel("the client has hung up")

            tg.start_soon(watch, name="hub.gateway hanging up")
            results.append(await work())
            watching.cancel("answered")
    if not results:
        raise HungUp
    return results[0]
