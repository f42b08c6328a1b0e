"""Every reply about an accepted task says which: in `Location`, in `Hub-Task`, and a problem also in its member `task`.

Routes name the task as soon as they know it; the headers are added where every reply passes, whatever became of the
request after that.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

from hub.gateway.negotiation import HttpRequest
from hub.gateway.tasks.errors import UnknownTask
from hub.http.problems import about
from hub.types import parse_task_id

_MEMBER = "task"


def name_task(request: HttpRequest, task: str) -> None:
    """From now on whatever is replied to `request` names this task."""
    about(request.scope)[_MEMBER] = task


@contextmanager
def naming(request: HttpRequest, task_id: str) -> Generator[None]:
    """For requests that ask for a task: names it, unless the block finds that there never was one."""
    known = parse_task_id(task_id)
    if known is not None:
        name_task(request, known)
    try:
        yield
    except UnknownTask:
        about(request.scope).pop(_MEMBER, None)
        raise


async def add_task_headers(message: Message, scope: Scope) -> None:
    """To be called with each ASGI message of a reply before it is sent."""
    task = about(scope).get(_MEMBER)
    if message["type"] == "http.response.start" and isinstance(task, str):
        headers = MutableScopeHeaders.from_message(message)
        headers["Location"] = f"/v1/tasks/{task}"
        headers["Hub-Task"] = task
