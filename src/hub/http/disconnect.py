"""Ends work for a client that has closed its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast, final

from anyio import CancelScope, create_task_group
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import HubError

if TYPE_CHECKING:
    from litestar.types import Receive, Scope

T = TypeVar("T")

ON_DISCONNECT: Final = "hub.on_disconnect"
"""The extension whose value is called with the cancel scope that a disconnect cancels from now on; `None`: none."""

_OnDisconnect: TypeAlias = Callable[[CancelScope | None], None]


@final
class ClientDisconnected(HubError):
    """The client has closed its connection before the reply, which cannot be sent any more. 499 as in nginx's logs."""

    code = "client_disconnected"
    status = 499
    title = "The client has disconnected"

    @override
    def __str__(self) -> str:
        return "the client closed its connection before its task ended"


async def cancelled_on_disconnect(scope: Scope, receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    """Runs `work`, and cancels it when the client closes its connection first.

    Args:
        scope: Of the request. hub's server has `ON_DISCONNECT` among its extensions where it notices a disconnect without being
            asked for it; elsewhere a task waits for that.
        receive: Of the request, whose body has been read.
        work: Returns what the client waits for.

    Raises:
        ClientDisconnected: The client has closed its connection.
    """
    on_disconnect = cast(
        "_OnDisconnect | None",
        cast("dict[str, object]", cast("dict[str, Any]", scope).get("extensions") or {}).get(ON_DISCONNECT),
    )
    if on_disconnect is None:
        return await _cancelled_by_task(receive, work)
    with CancelScope() as working:
        on_disconnect(working)
        try:
            return await work()
        finally:
            on_disconnect(None)
    raise ClientDisconnected


async def _cancelled_by_task(receive: Receive, work: Callable[[], Awaitable[T]]) -> T:
    results: list[T] = []
    watching = CancelScope()
    with collapse_exception_group():
        async with create_task_group() as tg:

            async def watch() -> None:
                with watching:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tg.cancel_scope.cancel("the client has disconnected")

            tg.start_soon(watch, name="hub.http disconnect")
            results.append(await work())
            watching.cancel("the work is done")
    if not results:
        raise ClientDisconnected
    return results[0]
