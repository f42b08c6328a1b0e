"""Keeps web pages of other sites from changing anything (cross-site request forgery)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final
from urllib.parse import SplitResult, urlsplit

from typing_extensions import override

from hub.errors import HubError
from hub.http.middleware.asgi import HttpApp, send_problem
from hub.http.middleware.cors import ANY
from hub.http.serve.server_counts import LOAD

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 section 9.2.1); what they reply, browsers show to no other page."""

_OWN: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of a page of this server, and of what a person does without a page."""

_TELLING: Final = frozenset({b"sec-fetch-site", b"origin"})
"""Request headers that give away a page."""

_PORTS: Final = {"http": 80, "https": 443}
_SHOWN: Final = 200


@final
class CrossSiteRequest(HubError):
    """A web page of another origin asked for a change."""

    code = "cross_site_request"
    status = 403
    title = "Pages of other origins may not do this"

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.origin = origin

    @override
    def __str__(self) -> str:
        page = f"a web page of {self.origin[:_SHOWN]!r}" if self.origin else "a web page of another site"
        return (
            f"the request comes from {page}, not from one of this server: name the origin in HUB_CORS_ORIGINS of the "
            "gateway to let its pages use the API; a proxy in front of this server has to pass Host on, or name it in "
            "X-Forwarded-Host"
        )


def with_own_pages(app: HttpApp, origins: frozenset[str]) -> HttpApp:
    """Refuses requests of pages of other origins that may change something, with 403; programs are no pages, and pass.

    Browsers say where a request comes from in `Sec-Fetch-Site`, to servers that are on this machine or speak TLS, and in
    `Origin`, to all. The latter is compared with `Host`, and with `X-Forwarded-Host` of proxies that change it: pages of
    other origins cannot set that one without a preflight. The scheme may differ, since a proxy may speak TLS.

    Args:
        app: What answers the others.
        origins: The other origins whose pages are let in; what `hub.http.middleware.cors.origins_of` returned.
    """

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _SAFE:
            foreign = _foreign(scope, origins)
            if foreign is not None:
                LOAD.cross_site += 1
                await send_problem(CrossSiteRequest(foreign), send, headers={})
                return
        await app(scope, receive, send)

    return asgi


def _foreign(scope: HTTPScope, origins: frozenset[str]) -> str | None:
    """The origin, or an empty text for an unknown one, of a page that is not let in."""
    if not [name for name, _ in scope["headers"] if name in _TELLING]:
        return None
    sites = _values(scope, b"sec-fetch-site")
    given = _values(scope, b"origin")
    if all(origin in origins or ANY in origins for origin in given) and given:
        return None
    if sites:
        return None if _OWN.issuperset(sites) else ", ".join(given)
    own = _values(scope, b"host") + [host.partition(",")[0] for host in _values(scope, b"x-forwarded-host")]
    if all(any(_same(origin, host) for host in own) for origin in given):
        return None
    return ", ".join(given)


def _values(scope: HTTPScope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for line, value in scope["headers"] if line == name]


def _same(origin: str, host: str) -> bool:
    """Whether both name the same host and port; a host without one has that of the origin's scheme."""
    scheme, separator, _ = origin.partition("://")
    if not separator or not host:
        return False
    mine, theirs = _authority(origin, scheme), _authority(f"{scheme}://{host.strip()}", scheme)
    return mine is not None and mine == theirs


def _authority(url: str, scheme: str) -> tuple[str, int | None] | None:
    try:
        parts: SplitResult = urlsplit(url)
        return ((parts.hostname or "").removesuffix("."), parts.port or _PORTS.get(scheme))
    except ValueError:
        return None
