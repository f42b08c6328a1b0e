"""The routes of the assets, for every server with a page."""

from __future__ import annotations

from typing import Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from hub.http.headers import etag_matches
from hub.http.middleware.compression import accepts_gzip, weak
from hub.http.problems import problem
from hub.web.assets import Asset, find_asset

FAVICON: Final = "hub/favicon.svg"

_FOR_GOOD: Final = "public, max-age=31536000, immutable"
"""For a URL with the digest of the content: other content has another URL."""


@get("/assets/{path:path}", include_in_schema=False, sync_to_thread=True)
def asset_route(request: Request[None, None, State], path: FromPath[str]) -> Response[bytes]:
    """An asset; runs in a thread because the first request for a file compresses it."""
    asset = find_asset(path.lstrip("/"))
    if asset is None:
        return problem(404, code="not_found", title="Not Found", detail=f"there is no asset {path}")
    return _reply(request, asset)


@get("/favicon.ico", include_in_schema=False, sync_to_thread=True)
def favicon_route(request: Request[None, None, State]) -> Response[bytes]:
    """For browsers that request an icon at the default path."""
    asset = find_asset(FAVICON)
    assert asset is not None  # noqa: S101 - shipped with the package; a test reads it
    return _reply(request, asset)


WEB_ROUTES: Final[tuple[ControllerRouterHandler, ...]] = (asset_route, favicon_route)


def _reply(request: Request[None, None, State], asset: Asset) -> Response[bytes]:
    current = request.query_params.get("v") == asset.digest
    headers = {
        "Cache-Control": _FOR_GOOD if current else "no-cache",
        "ETag": f'"{asset.digest}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(b"", status_code=304, headers=headers)
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        headers |= {"Content-Encoding": "gzip", "ETag": weak(headers["ETag"])}
        return Response(asset.gzipped, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
