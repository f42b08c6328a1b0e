"""What operators and their tools ask: health, metrics, targets, documentation."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.response import Redirect
from prometheus_client import CollectorRegistry

from hub.http.described import complete
from hub.http.exposition import exposition
from hub.http.headers import etag_matches
from hub.registry.bodies import HealthBody, TargetGroup
from hub.registry.depths import QueueDepths
from hub.registry.keeper import DirectoryKeeper
from hub.registry.pinger import Pinger
from hub.registry.roll import Roll
from hub.web.pages import swagger_page

TITLE: Final = "hub registry"

DOUBT: Final = (
    "most instances fell silent at once, so this registry may have lost its own network: it takes nobody off the lists "
    "for silence until that has lasted for a few rounds of pings"
)


@get("/metrics", summary="Figures for Prometheus", media_type="text/plain", tags=["operations"])
async def metrics(request: Request[Any, Any, Any], collectors: NamedDependency[CollectorRegistry]) -> Response[bytes]:
    """From memory, in the text format that `Accept` asks for."""
    content, media_type = exposition(collectors, request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


@get("/v1/prometheus/targets", summary="Instances for Prometheus to scrape", tags=["operations"])
async def targets(roll: NamedDependency[Roll]) -> Sequence[TargetGroup]:
    """Prometheus's HTTP service discovery (`http_sd_configs`): every instance, so that a dead one shows as down."""
    groups: list[TargetGroup] = []
    for status in roll.table.instances():
        parts = urlsplit(status.entry.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        address = f"[{host}]" if ":" in host else host
        groups.append(
            TargetGroup(
                targets=(f"{address}:{port}",),
                labels={
                    "__scheme__": parts.scheme,
                    "__metrics_path__": f"{parts.path}/metrics",
                    "model": status.entry.model,
                    "hub_instance": status.entry.id,
                },
            )
        )
    return groups


@get("/health/live", summary="Whether the process runs", tags=["operations"])
async def live() -> HealthBody:
    return HealthBody(status="ok")


@get("/health/ready", summary="Whether the lists are complete", tags=["operations"])
async def ready(
    keeper: NamedDependency[DirectoryKeeper],
    depths: NamedDependency[QueueDepths],
    pinger: NamedDependency[Pinger],
) -> HealthBody:
    """The registry listens once it has pinged everybody whom it remembered, so an answer means that lists can be read.

    `degraded` says that a server behind it is out of reach: without the directory nobody can log in, without the
    broker the depths of queues are unknown. Or that the directory answers and does not carry out what it is asked, for
    `reason`: it is out of memory, forbids scripts, or holds values of something else. Or that the broker has a memory or disk alarm, and
    takes no messages. Or that most instances fell silent at once, so that the registry takes its
    own network for lost, and believes no silence for a few rounds.
    """
    lost = [name for name, linked in (("directory", keeper.in_reach), ("broker", depths.linked)) if not linked]
    reasons = [] if keeper.linked else [f"the directory: {keeper.trouble}"]
    if depths.blocked is not None:
        reasons.append(f"the broker takes no messages: {depths.blocked}")
    if pinger.doubt.holds:
        lost.append("instances")
        reasons.append(DOUBT)
    return HealthBody(
        status="degraded" if lost or reasons else "ok", out_of_reach=tuple(lost), reason="; ".join(reasons)
    )


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Request[Any, Any, Any], guarded: NamedDependency[bool]) -> Response[bytes]:
    content = msgspec.json.encode(complete(request.app.openapi_schema.to_schema(), guarded=guarded))
    etag = f'"{sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type="application/vnd.oai.openapi+json", headers=headers)


@get("/docs", include_in_schema=False)
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    return swagger_page(TITLE, "/openapi.json", if_none_match=request.headers.get("if-none-match"))


@get("/", include_in_schema=False)
async def home() -> Redirect:
    return Redirect("/docs")
