"""The HTML pages, and the headers that keep them to themselves."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from litestar import Response

from hub.http.headers import etag_matches
from hub.web.assets import find_asset

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No script but ours, nothing from elsewhere, no frames. Inline styles: Swagger UI and uPlot place things with them."""

_ASSET: Final = re.compile(r'"/assets/([^"]+)"')


def swagger_page(title: str, openapi_url: str, *, if_none_match: str | None = None) -> Response[bytes]:
    """Swagger UI from our own assets.

    The page loads the document at `openapi_url` by itself and follows its changes as long as that address answers
    with an `ETag`; it holds such a request open with `Prefer: wait` where the server understands that.
    """
    return _page("docs.html", if_none_match, title=title, openapi_url=openapi_url)


def dashboard_page(title: str, *, docs_url: str, if_none_match: str | None = None) -> Response[bytes]:
    """The dashboard; it reads `/v1/overview` of the server that it came from. `docs_url` is the gateway's Swagger UI."""
    return _page("dashboard.html", if_none_match, title=title, docs_url=docs_url)


def _page(name: str, if_none_match: str | None, **values: str) -> Response[bytes]:
    html = Template(_source(name)).substitute({key: escape(value) for key, value in values.items()}).encode()
    etag = f'"{sha256(html).hexdigest()[:16]}"'
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "ETag": etag,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    if etag_matches(if_none_match, etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(html, media_type="text/html", headers=headers)


@cache
def _source(name: str) -> str:
    return _ASSET.sub(_versioned, (files("hub.web") / "pages" / name).read_text(encoding="utf-8"))


def _versioned(match: re.Match[str]) -> str:
    asset = find_asset(match[1])
    if asset is None:
        raise FileNotFoundError(match[1])
    return f'"{asset.url}"'
