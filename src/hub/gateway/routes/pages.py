"""Pages for browsers: the dashboard, models, tasks, the API description, and Swagger UI. They need no key."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final
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

MODELS_ON_A_PAGE: Final = 50
"""Live models up to which one page shows all of them; a browser takes 8 s to draw 200."""


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
async def show_docs(
    request: HttpRequest, catalog: NamedDependency[Catalog], model: Annotated[str, QueryParameter()] = ""
) -> Response[bytes]:
    """All models on one page; if there are many, a list of them, each with a page of its own."""
    url, title, most = "/openapi.json", "hub API", 0
    if model:
        url, title = f"{url}?model={quote(model, safe='')}", f"{model} · hub API"
    elif len(catalog.served) > MODELS_ON_A_PAGE:
        url = f"{url}?index=true"
    else:
        most = MODELS_ON_A_PAGE
    return swagger_page(title, url, site=True, most=most, if_none_match=request.headers.get("if-none-match"))


@get("/openapi.json")
async def show_description(
    request: HttpRequest,
    document: NamedDependency[OpenApiDocument],
    catalog: NamedDependency[Catalog],
    polls: NamedDependency[LongPollRegistry],
    model: Annotated[str, QueryParameter()] = "",
    *,
    index: Annotated[bool, QueryParameter()] = False,
) -> Response[bytes]:
    """The whole document, that of one model, or that of none with an index of the models."""
    render = partial(document.of_model, model) if model else document.index if index else document.current

    async def changed() -> None:
        await catalog.changed()
        await document.prepare()

    await document.prepare()
    return await long_poll_reply(request, render, changed, polls.wait_scope)
