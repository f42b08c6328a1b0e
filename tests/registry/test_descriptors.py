"""Logins that leave the contract out: the registry reads it from the descriptor routes of the instance."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from typing import Any

import anyio
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from httpx2 import Response as ClientResponse
from litestar import Litestar, Request, Response, get

from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.contract.contract import MAX_BYTES
from hub.contract.descriptors.limits import MAX_FILES
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.registry.client.errors import DescriptorsUnreachable
from hub.registry.core.networks import InstanceNetworks
from hub.registry.tasks.descriptor_reader import FILES, REQUEST, RESPONSE, DescriptorReader
from hub.registry.tasks.instance_http import InstanceHttp
from hub.types import InstanceId, new_instance_id
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, PLAIN, TIMEOUT

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LOOPBACK = InstanceNetworks([ip_network("127.0.0.0/8")])


@dataclass
class DescribingServer:
    """A real HTTP server of an instance: pings, and descriptor routes whose replies may be changed at any time."""

    id: InstanceId
    url: str = ""
    bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    names: dict[str, str] = field(default_factory=dict[str, str])
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    silent: bool = False
    reads: list[str] = field(default_factory=list[str])
    tokens: set[str] = field(default_factory=set[str])
    reached: anyio.Event = field(default_factory=anyio.Event)

    def serve_contract(self, contract: Contract, request: DescriptorProto, response: DescriptorProto) -> None:
        self.bodies = {
            FILES: contract.files,
            REQUEST: request.SerializeToString(),
            RESPONSE: response.SerializeToString(),
        }


@asynccontextmanager
async def describing_server() -> AsyncGenerator[DescribingServer]:
    """Serves the descriptors of Digits."""
    it = DescribingServer(new_instance_id())
    request, response = DescriptorProto(), DescriptorProto()
    DigitsRequest.DESCRIPTOR.CopyToProto(request)
    DigitsResponse.DESCRIPTOR.CopyToProto(response)
    it.serve_contract(DIGITS, request, response)

    @get("/ping")
    async def ping() -> dict[str, object]:
        return {"instance": it.id}

    async def descriptors(request: Request[Any, Any, Any]) -> Response[bytes]:
        path = request.url.path.lstrip("/")
        it.reads.append(path)
        it.tokens.add(request.headers.get("authorization", ""))
        it.reached.set()
        while it.silent:
            await anyio.sleep(0.01)
        headers = it.headers | ({"Hub-Message": it.names[path]} if path in it.names else {})
        return Response(it.bodies[path], status_code=it.status, media_type="application/x-protobuf", headers=headers)

    routes = [get(f"/{path}", name=path)(descriptors) for path in (FILES, REQUEST, RESPONSE)]
    app = Litestar([ping, *routes], openapi_config=None, logging_config=None)
    async with background_service(partial(serve, app, ListenAddress(), grace=0.1), name="instance") as url:
        it.url = url
        yield it


@pytest.fixture
async def registry() -> AsyncGenerator[ServedRegistry]:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="sesame") as served:
            yield served


@pytest.fixture
async def server() -> AsyncGenerator[DescribingServer]:
    async with describing_server() as it:
        yield it


async def login(registry: ServedRegistry, server: DescribingServer, **more: object) -> ClientResponse:
    return await registry.http.put(
        f"{registry.url}/v1/instances/{server.id}",
        json={"model": "Foreign", "url": server.url, **more},
        headers={"Authorization": "Bearer sesame"},
    )


async def refused(registry: ServedRegistry, server: DescribingServer, status: int, code: str) -> str:
    """The reason of a refusal; nothing is listed."""
    reply = await login(registry, server)
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert body["code"] == code
    assert body["url"].startswith(server.url)
    assert body["reason"] in body["detail"]
    listed = await registry.get("/v1/instances", authorization="Bearer sesame")
    assert listed.json()["instances"] == []
    return str(body["reason"])


@pytest.mark.parametrize(("header", "streams"), [("true", True), ("false", False), (None, False)])
async def test_a_header_says_that_the_model_streams(
    registry: ServedRegistry, server: DescribingServer, header: str | None, *, streams: bool
) -> None:
    if header is not None:
        server.headers |= {"Hub-Streaming": header}
    assert (await login(registry, server)).status_code == 201
    listed = await registry.get("/v1/models/Foreign", authorization="Bearer sesame")
    assert listed.json()["streaming"] is streams


async def test_another_value_of_that_header_is_refused(registry: ServedRegistry, server: DescribingServer) -> None:
    server.headers |= {"Hub-Streaming": "perhaps"}
    assert "'perhaps': send true" in await refused(registry, server, 422, "invalid_descriptors")


async def test_a_contract_that_is_left_out_is_read_from_the_instance(
    registry: ServedRegistry, server: DescribingServer
) -> None:
    reply = await login(registry, server)
    assert reply.status_code == 201, reply.text
    assert reply.json()["fingerprint"] == DIGITS.fingerprint
    assert server.reads == [FILES, REQUEST, RESPONSE]
    assert server.tokens == {"Bearer sesame"}
    secret = {"Authorization": "Bearer sesame", "Hub-Instance-Secret": reply.json()["secret"]}
    again = await registry.http.put(
        f"{registry.url}/v1/instances/{server.id}",
        json={"model": "Foreign", "url": f"{server.url}/", "contract": None},
        headers=secret,
    )
    assert (again.status_code, again.json()["state"]) == (200, "live")
    (model,) = (await registry.get("/v1/models", authorization="Bearer sesame")).json()["models"]
    assert (model["name"], model["request"], model["response"]) == ("Foreign", DIGITS.request, DIGITS.response)
    metrics = (await registry.get("/metrics", authorization="Bearer sesame")).text
    assert 'hub_registry_descriptor_reads_total{result="read"} 2.0' in metrics


async def test_another_contract_of_the_same_name_is_refused_as_usual(
    registry: ServedRegistry, server: DescribingServer
) -> None:
    await login(registry, server)
    async with describing_server() as other:
        other.serve_contract(PLAIN, DescriptorProto(name="Ask"), DescriptorProto(name="Answer"))
        reply = await login(registry, other)
    assert (reply.status_code, reply.json()["code"]) == (409, "name_taken")
    assert reply.json()["differences"]


async def test_messages_of_one_name_are_told_apart_by_the_header(
    registry: ServedRegistry, server: DescribingServer
) -> None:
    files = FileDescriptorSet.FromString(PLAIN.files)
    twice = FileDescriptorProto(name="other.proto", package="other.v1", syntax="proto3")
    twice.message_type.add(name="Outer").nested_type.add(name="Ask")
    files.file.append(twice)
    server.bodies = {FILES: files.SerializeToString(), REQUEST: b"\x0a\x03Ask", RESPONSE: b"\x0a\x06Answer"}
    reason = await refused(registry, server, 422, "invalid_descriptors")
    assert "grow.v1.Ask, other.v1.Outer.Ask" in reason
    assert "Hub-Message" in reason
    server.names = {REQUEST: "grow.v1.Ask"}
    assert (await login(registry, server)).json()["fingerprint"] == PLAIN.fingerprint


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        pytest.param(FILES, b"\xff", "not a google.protobuf.FileDescriptorSet", id="no descriptors"),
        pytest.param(FILES, b"", "none of that name", id="no files"),
        pytest.param(FILES, bytes(MAX_BYTES + 1), f"more than {MAX_BYTES} bytes", id="too many bytes"),
        pytest.param(REQUEST, b"\xff", "not a google.protobuf.DescriptorProto", id="no descriptor"),
        pytest.param(REQUEST, b"\x0a\x02\xff\xff", "Hub-Message", id="a name that is not UTF-8"),
        pytest.param(RESPONSE, DescriptorProto(name="None").SerializeToString(), "none of that name", id="unknown"),
        pytest.param(
            FILES,
            FileDescriptorSet(
                file=[FileDescriptorProto(name=f"{number}.proto") for number in range(MAX_FILES)]
                + list(FileDescriptorSet.FromString(DIGITS.files).file)
            ).SerializeToString(),
            "files; send only what the messages refer to",
            id="too many files",
        ),
        pytest.param(
            FILES,
            DIGITS.files.replace(b"\x12\x12examples.digits.v1", b"\x12\x12examples.digits.\xff\xff"),
            "",
            id="damaged",
        ),
    ],
)
async def test_replies_that_are_no_contract_are_refused_with_a_reason(
    registry: ServedRegistry, server: DescribingServer, path: str, body: bytes, reason: str
) -> None:
    server.bodies[path] = body
    assert reason in await refused(registry, server, 422, "invalid_descriptors")
    metrics = (await registry.get("/metrics", authorization="Bearer sesame")).text
    assert 'hub_registry_descriptor_reads_total{result="invalid"} 1.0' in metrics


async def test_a_name_that_the_files_do_not_declare_is_refused(
    registry: ServedRegistry, server: DescribingServer
) -> None:
    server.names = {RESPONSE: "no.Such"}
    assert "do not declare" in await refused(registry, server, 422, "invalid_descriptors")


@pytest.mark.parametrize("status", [302, 401, 404, 500])
async def test_a_route_that_does_not_serve_is_worth_a_retry_and_redirects_are_not_followed(
    registry: ServedRegistry, server: DescribingServer, status: int
) -> None:
    server.status = status
    async with describing_server() as other:
        server.headers = {"Location": f"{other.url}/{FILES}"}
        assert str(status) in await refused(registry, server, 502, "descriptors_unreachable")
        assert other.reads == []
    server.status = 200
    assert (await login(registry, server)).status_code == 201


async def test_only_addresses_in_the_networks_are_asked(registry: ServedRegistry, server: DescribingServer) -> None:
    reply = await login(registry, server, url=server.url.replace("127.0.0.1", "10.0.0.7"))
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_login")
    async with InstanceHttp(InstanceNetworks([ip_network("10.0.0.0/8")])) as http:
        reader = DescriptorReader(http)
        with pytest.raises(DescriptorsUnreachable, match="outside of HUB_INSTANCE_NETWORKS"):
            await reader.read(server.url.replace("127.0.0.1", "localhost"))
    assert server.reads == []


async def test_an_instance_that_does_not_answer_is_refused_when_the_time_is_over(server: DescribingServer) -> None:
    server.silent = True
    async with InstanceHttp(LOOPBACK) as http:
        with anyio.fail_after(TIMEOUT), pytest.raises(DescriptorsUnreachable, match=r"not complete within 0\.05 s"):
            await DescriptorReader(http, timeout=0.05).read(server.url)
    server.silent = False
    async with describing_server() as closed:
        pass
    async with InstanceHttp(LOOPBACK) as http:
        with anyio.fail_after(TIMEOUT), pytest.raises(DescriptorsUnreachable, match="connection refused"):
            await DescriptorReader(http).read(closed.url)


async def test_a_login_whose_descriptors_are_read_holds_up_no_other(
    registry: ServedRegistry, server: DescribingServer
) -> None:
    server.silent = True
    replies: list[int] = []

    async def slow() -> None:
        replies.append((await login(registry, server)).status_code)

    async with anyio.create_task_group() as tg:
        tg.start_soon(slow)
        await server.reached.wait()
        async with describing_server() as other:
            assert (await login(registry, other)).status_code == 201
        assert replies == []
        server.silent = False
    assert replies == [201]


async def test_so_many_are_read_at_a_time_and_the_others_wait(server: DescribingServer) -> None:
    server.silent = True
    with anyio.fail_after(TIMEOUT):
        async with InstanceHttp(LOOPBACK) as http, describing_server() as other:
            reader = DescriptorReader(http, concurrency=1)
            async with anyio.create_task_group() as tg:
                tg.start_soon(reader.read, server.url)
                await server.reached.wait()
                with anyio.move_on_after(0.05) as scope:
                    await reader.read(other.url)
                assert scope.cancelled_caught
                assert other.reads == []
                server.silent = False
            assert (await reader.read(other.url)).fingerprint == DIGITS.fingerprint
            assert server.reads == other.reads
