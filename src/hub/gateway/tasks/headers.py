"""Names the task in every reply about it: in `Location`, in `Hub-Task`, and in the member `task` of a problem.

Routes name the task as soon as they know it. The headers are added to the reply whatever happens after that.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from litestar.types import Message, Scope

from hub.gateway.tasks.errors import UnknownTask
from hub.http.dependencies import IncomingRequest
from hub.http.problem_document import about
from hub.types import parse_task_id

_MEMBER = "task"


def name_task(request: IncomingRequest, task: str) -> None:
    """Makes every later reply to `request` name this task."""
    about(request.scope)[_MEMBER] = task


@contextmanager
def naming(request: IncomingRequest, task_id: str) -> Generator[None]:
    """Names the task that `request` asks for, unless the block raises `UnknownTask`."""
    known = parse_task_id(task_id)
    if known is not None:
        name_task(request, known)
    try:
        yield
    except UnknownTask:
        about(request.scope).pop(_MEMBER, None)
        raise


async def add_task_headers(message: Message, scope: Scope) -> None:
    """Adds the headers; called with each ASGI message of a reply before it is sent."""
    task = about(scope).get(_MEMBER)
    if message["type"] == "http.response.start" and isinstance(task, str):
        name = task.encode()
        message["headers"] = [*message["headers"], (b"location", b"/v1/tasks/" + name), (b"hub-task", name)]
