"""The HTML pages, with a strict content security policy."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Final, Literal

from litestar import Response

from hub.http.headers import etag_matches
from hub.http.middleware.root_path import rooted
from hub.web.assets import find_asset
from hub.web.charts import CHARTS

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Scripts and styles of this server only, nothing from other servers, no frames. The form leads to the page of a task."""

_SWAGGER_POLICY: Final = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI uses inline styles."""

_HERO: Final = ("queue", "models", "names")
"""The charts above the table of the dashboard; the others are below it."""

_LINK: Final = re.compile(r' (href|src|action|data-openapi)="/(?!/)')
"""URLs of this server in a page, which need the root path in front of them if there is one."""

_ASSET: Final = re.compile(r'"/assets/([^"]+)"')

PLACES: Final = ("dashboard", "models", "tasks", "docs")

Place = Literal["dashboard", "models", "tasks", "docs", ""]


def swagger_page(
    title: str, openapi_url: str, *, site: bool = False, most: int = 0, if_none_match: str | None = None
) -> Response[bytes]:
    """Swagger UI, served from this package.

    The page loads the document at `openapi_url` by itself and follows its changes as long as that address answers
    with an `ETag`; it holds such a request open with `Prefer: wait` where the server understands that.

    Args:
        title: Of the page.
        openapi_url: Where the document is.
        most: Models that the page can show; it loads itself again when there are more. 0: any number.
        site: Whether the server has the other pages too, so that this one leads to them.
        if_none_match: What the browser has already.
    """
    header = _header("docs") if site else ""
    html = _filled("docs.html", title=title, openapi_url=openapi_url, most=str(most), raw={"header": header})
    return _reply(html, _SWAGGER_POLICY, if_none_match)


def dashboard_page(*, if_none_match: str | None = None) -> Response[bytes]:
    """The dashboard; its script reads `/v1/overview/events` of the same server."""
    hero = "\n".join(_chart(id_) for id_ in _HERO)
    row = "\n".join(_chart(chart.id) for chart in CHARTS if chart.id not in _HERO)
    content = _filled("dashboard.html", raw={"hero": hero, "row": row})
    return _page("hub", "Dashboard", content, "dashboard", if_none_match, place="dashboard", charts=True)


def models_page(*, if_none_match: str | None = None) -> Response[bytes]:
    """All models with their instances, and the changes of these."""
    return _page("Models · hub", "Models", _filled("models.html"), "models", if_none_match, place="models")


def tasks_page(*, if_none_match: str | None = None) -> Response[bytes]:
    """Recent tasks by state and model, which the script reads from the URL."""
    return _page("Tasks · hub", "Tasks", _filled("tasks.html"), "tasks", if_none_match, place="tasks")


def task_page(task: str, *, if_none_match: str | None = None) -> Response[bytes]:
    """One task. `task` is the id in the URL; the script of the page validates it."""
    content = _filled("task.html", task=task)
    return _page("Task · hub", "Task", content, "task", if_none_match)


def _page(
    title: str,
    heading: str,
    content: str,
    script: str,
    if_none_match: str | None,
    *,
    place: Place = "",
    charts: bool = False,
) -> Response[bytes]:
    tags = [
        f'<link rel="stylesheet" href="/assets/hub/{script}.css">',
        f'<script type="module" src="/assets/hub/{script}.js"></script>',
    ]
    if charts:
        tags[:0] = [
            '<link rel="stylesheet" href="/assets/uplot/uPlot.min.css">',
            '<script defer src="/assets/uplot/uPlot.iife.min.js"></script>',
        ]
    raw = {"head": _versioned("\n  ".join(tags)), "header": _header(place), "content": content}
    return _reply(_filled("layout.html", title=title, heading=heading, raw=raw), _POLICY, if_none_match)


def _header(place: Place) -> str:
    here = {f"at_{name}": ' aria-current="page"' if name == place else "" for name in PLACES}
    return _filled("header.html", raw=here)


def _chart(id_: str) -> str:
    chart = next(chart for chart in CHARTS if chart.id == id_)
    queries = "\n".join(_query(query.promql) for query in chart.queries)
    texts = {"id": chart.id, "unit": chart.unit, "title": chart.title, "help": chart.help}
    return _filled("chart.html", raw={"queries": queries}, **texts)


def _query(promql: str) -> str:
    return f'    <pre tabindex="0"><code>{escape(promql)}</code></pre><button class="copy" hidden>Copy</button>'


def _filled(name: str, *, raw: dict[str, str] | None = None, **texts: str) -> str:
    """A template with `texts`, which are escaped, and `raw`, which is HTML."""
    return Template(_source(name)).substitute({key: escape(value) for key, value in texts.items()} | (raw or {}))


def _reply(page: str, policy: str, if_none_match: str | None) -> Response[bytes]:
    html = _LINK.sub(rf' \1="{rooted("/")}', page).encode()
    etag = f'"{sha256(html).hexdigest()[:16]}"'
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy,
        "ETag": etag,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    if etag_matches(if_none_match, etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(html, media_type="text/html", headers=headers)


@cache
def _source(name: str) -> str:
    return _versioned((files("hub.web") / "pages" / name).read_text(encoding="utf-8"))


def _versioned(html: str) -> str:
    return _ASSET.sub(_address, html)


def _address(match: re.Match[str]) -> str:
    asset = find_asset(match[1])
    if asset is None:
        raise FileNotFoundError(match[1])
    return f'"{asset.url}"'
