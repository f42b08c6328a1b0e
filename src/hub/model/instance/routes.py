"""The HTTP routes of an instance: ping, resubscribe, descriptors, metrics, health."""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files
from typing import Any, Final

import msgspec
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.http.auth import guarded
from hub.http.described import complete
from hub.http.middleware.edge import with_edge
from hub.http.middleware.hosts import Hosts
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.model.instance.health import health_routes
from hub.model.instance.health_reporter import HealthReporter, Ping
from hub.model.instance.metrics import InstanceMetrics
from hub.registry.client.schemas import MESSAGE_HEADER, PING_HEADER, STREAMING_HEADER

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"


def instance_app(
    reporter: HealthReporter,
    metrics: InstanceMetrics,
    *,
    token: str = "",
    hosts: Hosts = Hosts(),  # noqa: B008 - immutable
) -> Litestar:
    """The ASGI application of one instance.

    Args:
        reporter: Replies to pings.
        metrics: Shown at `/metrics`.
        token: Required of every caller, unless empty, but for `/health/...` and the description.
        hosts: Host names of the instance, beside IP addresses and localhost.
    """

    @get("/ping")
    async def ping(request: Request[Any, Any, State]) -> Response[Ping]:
        if PING_HEADER in request.headers:
            reporter.mark_pinged()
        reply = await reporter.ping()
        return Response(reply, status_code=503 if reply.reason else 200)

    @post("/resubscribe", status_code=202)
    async def resubscribe() -> dict[str, bool]:
        return {"resubscribing": reporter.resubscribe()}

    @get("/descriptors")
    async def descriptors(request: Request[Any, Any, State]) -> Response[bytes]:
        return await _message(request, reporter.contract.descriptors)

    @get("/descriptors/request")
    async def request_descriptor(request: Request[Any, Any, State]) -> Response[bytes]:
        return await _message(request, _proto(reporter.model.get_request_format()), reporter.contract.request)

    @get("/descriptors/response")
    async def response_descriptor(request: Request[Any, Any, State]) -> Response[bytes]:
        reply = await _message(request, _proto(reporter.model.get_response_format()), reporter.contract.response)
        if reporter.contract.streaming:
            reply.headers[STREAMING_HEADER] = "true"
        return reply

    @get("/metrics")
    async def exposition(request: Request[Any, Any, State]) -> Response[bytes]:
        content, media_type = await metrics.exposition(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    @get("/openapi.json")
    async def description() -> Response[bytes]:
        return Response(
            instance_description(guarded=bool(token)), media_type=JSON, headers={"Cache-Control": "no-cache"}
        )

    with_token = guarded(
        [ping, resubscribe, descriptors, request_descriptor, response_descriptor, exposition], [token] if token else []
    )
    app = Litestar(
        [*with_token, description, *health_routes(reporter)],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    return with_edge(app, hosts=hosts)


@cache
def instance_description(*, guarded: bool = False) -> bytes:
    """The OpenAPI document of an instance, encoded; `guarded` if it asks for a token."""
    source = (files("hub.model.instance") / "openapi.json").read_bytes()
    return msgspec.json.encode(complete(msgspec.json.decode(source), guarded=guarded))


def _proto(descriptor: Descriptor) -> DescriptorProto:
    proto = DescriptorProto()
    descriptor.CopyToProto(proto)
    return proto


async def _message(request: Request[Any, Any, State], message: Message, name: str = "") -> Response[bytes]:
    """Protobuf, or ProtoJSON for a client that accepts JSON by name. The header `Hub-Message` has `name`, if it is given."""
    headers = {"Vary": "Accept", MESSAGE_HEADER: name} if name else {"Vary": "Accept"}
    if JSON in request.headers.get("accept", ""):
        text = await in_thread_if_large(CONTRACT_WEIGHT * message.ByteSize(), partial(MessageToJson, message))
        return Response(text.encode(), media_type=JSON, headers=headers)
    return Response(message.SerializeToString(), media_type=PROTOBUF, headers=headers)
