"""Pages for browsers: the dashboard, models, tasks, the API description, and Swagger UI. They need no key."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect

from hub.gateway.models.catalog import Catalog
from hub.gateway.openapi.document import OpenApiDocument
from hub.http.conditional import long_poll_reply
from hub.http.dependencies import HttpRequest
from hub.http.long_polling import LongPollRegistry
from hub.web.pages import dashboard_page, models_page, swagger_page, task_page, tasks_page


@get("/")
async def show_dashboard(request: HttpRequest) -> Response[bytes]:
    return dashboard_page(if_none_match=request.headers.get("if-none-match"))


@get("/models")
async def show_models(request: HttpRequest) -> Response[bytes]:
    return models_page(if_none_match=request.headers.get("if-none-match"))


@get("/tasks")
async def show_tasks(
    request: HttpRequest, task: Annotated[str, QueryParameter(name="id")] = ""
) -> Response[bytes] | Redirect:
    """The lists of tasks; with an id (from the search box, which works without JavaScript) the page of that task."""
    wanted = task.strip()
    if wanted:
        return Redirect(f"/tasks/{quote(wanted, safe='')}", status_code=303)
    return tasks_page(if_none_match=request.headers.get("if-none-match"))


@get("/tasks/{task_id:str}")
async def show_task_page(request: HttpRequest, task_id: FromPath[str]) -> Response[bytes]:
    return task_page(task_id, if_none_match=request.headers.get("if-none-match"))


@get("/docs")
async def show_docs(request: HttpRequest) -> Response[bytes]:
    known = request.headers.get("if-none-match")
    return swagger_page("hub API", "/openapi.json", site=True, if_none_match=known)


@get("/openapi.json")
async def show_description(
    request: HttpRequest,
    document: NamedDependency[OpenApiDocument],
    catalog: NamedDependency[Catalog],
    polls: NamedDependency[LongPollRegistry],
) -> Response[bytes]:

    async def changed() -> None:
        await catalog.changed()
        await document.prepare()

    await document.prepare()
    return await long_poll_reply(request, document.current, changed, polls.wait_scope)
