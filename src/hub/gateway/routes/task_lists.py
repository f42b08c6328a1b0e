"""The route of the lists of recent tasks."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from hub.gateway.negotiation import JSON, HttpRequest
from hub.gateway.tasks.lists import TaskListBody, TaskQuery
from hub.gateway.tasks.service import TaskService
from hub.http.headers import etag_matches


@get("/v1/tasks")
async def list_tasks(request: HttpRequest, dispatch: NamedDependency[TaskService]) -> Response[bytes]:
    query = TaskQuery.of(request.query_params.multi_items())
    found = await dispatch.recent(query.states, model=query.model, before=query.before, limit=query.limit)
    content = msgspec.json.encode(TaskListBody.of(query, found))
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=JSON, headers=headers)
