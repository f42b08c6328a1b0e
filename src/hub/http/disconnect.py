"""Clients that do not wait for their answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from anyio import create_task_group
from litestar.types import Receive
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import HubError

T = TypeVar("T")


@final
class ClientDisconnected(HubError):
    """The client of a synchronous call has closed its connection; nobody reads the reply. 499 as in nginx's logs."""

    code = "client_disconnected"
    status = 499
    title = "The client has hung up"

    @override
    def __str__(self) -> str:
        return "the client closed its connection before its task ended"


async def cancelled_on_disconnect(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Does `work` for a client, and cancels it when the client closes its connection first.

    Args:
        receive: Of the request, whose body has been read.
        work: Gives what the client waits for.

    Raises:
        ClientDisconnected: The client has closed its connection.
    """
    results: list[T] = []
    with collapse_exception_group():
        async with create_task_group() as tg:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tg.cancel_scope.cancel("the client has hung up")

            tg.start_soon(watch, name="hub.gateway hanging up")
            results.append(await work())
            tg.cancel_scope.cancel("answered")
    if not results:
        raise ClientDisconnected
    return results[0]
