"""Routes for operators and their tools: health, metrics, targets, documentation."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.response import Redirect

from hub.http.described import complete
from hub.http.headers import etag_matches
from hub.observability.prometheus import MetricsPage
from hub.registry.client.schemas import HealthBody, TargetGroup
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.web.pages import swagger_page

TITLE: Final = "hub registry"

SELF_PRESERVATION: Final = (
    "self-preservation: most instances stopped answering at once, so this registry may have lost its own network; missed "
    "pings are not counted until that has lasted for a few rounds of pings"
)


@get("/metrics", summary="Metrics for Prometheus", media_type="text/plain", tags=["operations"])
async def show_metrics(request: Request[Any, Any, Any], metrics: NamedDependency[MetricsPage]) -> Response[bytes]:
    """From memory, in the text format that `Accept` asks for."""
    content, media_type = await metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


@get("/v1/prometheus/targets", summary="Instances for Prometheus to scrape", tags=["operations"])
async def targets(registry: NamedDependency[RegistryState]) -> Sequence[TargetGroup]:
    """Prometheus's HTTP service discovery (`http_sd_configs`): every instance, so that a dead one shows as down."""
    groups: list[TargetGroup] = []
    for status in registry.instances():
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
    sync: NamedDependency[DirectorySync],
    queues: NamedDependency[QueueMonitor],
    pinger: NamedDependency[Pinger],
) -> HealthBody:
    """The registry listens once it has pinged all stored instances, so a reply means that the lists are complete.

    `degraded` means that a server behind it is out of reach: without the directory logins fail, without the broker the
    depths of queues are unknown. Or that the directory answers and refuses calls, for `reason`: it is out of memory,
    forbids scripts, or has values that hub cannot read. Or that the broker has a memory or disk alarm. Or that most
    instances stopped answering at once, so that missed pings are not counted for a few rounds, because the registry may
    have lost its network.
    """
    connected = {"directory": sync.health.in_reach, "broker": queues.connected}
    lost = [name for name, in_reach in connected.items() if not in_reach]
    reasons = [] if sync.health.ok else [f"the directory: {sync.health.reason}"]
    if queues.blocked is not None:
        reasons.append(f"the broker accepts no messages: {queues.blocked}")
    if pinger.self_preservation.active:
        lost.append("instances")
        reasons.append(SELF_PRESERVATION)
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
