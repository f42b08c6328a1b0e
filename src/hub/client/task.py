"""The handle of a task that was submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast, final

from hub.client.errors import GatewayError
from hub.client.messages import Target
from hub.client.snapshot import TaskSnapshot
from hub.client.streams import MessageStream, TaskChanges
from hub.client.submission import ended_task, result_reply
from hub.client.transport import Transport, snapshot_in, task_path

T = TypeVar("T")


@final
class TaskHandle(Generic[T]):
    """A task at the gateway. It lives on when the handle, the client or the process is gone: `Client.task(id)` finds it.

    Cancelling one of the waits below leaves the task running. Each method raises `NotFound` if there is no such task or its
    record has expired, and `GatewayUnreachable` if the gateway stays out of reach.

    Attributes:
        id: The id of the task.
    """

    def __init__(self, transport: Transport, target: Target, task: str) -> None:
        self.id = task
        self._transport = transport
        self._target = target

    async def status(self) -> TaskSnapshot:
        """The task as it is now."""
        return snapshot_in((await self._transport.send("GET", task_path(self.id))).content)

    async def wait(self) -> TaskSnapshot:
        """Waits until the task has ended, in whatever way; see `TaskSnapshot.state`."""
        return await ended_task(self._transport, self.id)

    async def result(self) -> T:
        """Waits for the response. May be called again.

        Raises:
            TaskUnsuccessful: The task has ended without a response.
            UnexpectedReply: The model streams: `chunks()` has its responses.
        """
        response = await result_reply(self._transport, self.id, self._target.accept)
        return cast("T", self._target.decode(response.content, response.headers.get("content-type", "")))

    async def cancel(self) -> TaskSnapshot:
        """Ends the task as cancelled: it never runs, or stops within a second. Does nothing if it has ended.

        Returns:
            The task, whose state tells which of them it was.
        """
        try:
            return snapshot_in((await self._transport.send("DELETE", task_path(self.id))).content)
        except GatewayError as error:
            if error.code != "task_already_finished":
                raise
        return await self.status()

    def events(self) -> TaskChanges:
        """The task as it is and each change of it, such as its progress, until it has ended."""
        return TaskChanges(self._transport, self.id)

    def chunks(self, *, on_restart: Callable[[int], None] | None = None) -> MessageStream[T]:
        """The chunks of the task of a streaming model, from the first one, as they come; see `MessageStream`."""
        return cast("MessageStream[T]", MessageStream.of_task(self._transport, self._target, self.id, on_restart))
