"""Hostile documents: the reply to each is a 4xx with a valid problem."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Mapping

import anyio
import msgspec
import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto, FileDescriptorSet
from httpx2 import Response

from hub.contract import Contract
from hub.contract.descriptors.pool import build_pool
from hub.types import ModelName
from tests.contract.random_descriptors import ONE
from tests.gateway.fixtures import LocalGateway, open_gateway

RICH = ModelName("Rich")
CALL = "/v1/models/Rich"
TASKS = f"{CALL}/tasks"
BATCHES = f"{CALL}/batches"

NAMED: Mapping[str, bytes] = {
    "beyond a double, then the end": b"[1e400",
    "beyond a double, then an open object": b'{"d":1e400, ',
    "beyond a double, then NaN": b'{"d":1e400,"v":[NaN]}',
    "beyond a double, then bad UTF-8": b'{"d":1e400,"text":"\xff"}',
    "beyond a double, then a surrogate in UTF-8": b'{"d":1e400,"text":"\xed\xa0\x80"}',
    "beyond a double, then a lone surrogate": b'{"d":1e400,"text":"\\ud800"}',
    "beyond a double, then a surrogate as a name": b'{"d":1e400,"\\ud800":1}',
    "beyond a double twice, then a surrogate": b'{"d":1e400,"d":1,"text":"\\udfff"}',
    "beyond a double, then deep lists": b'{"d":1e400,"v":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "beyond a double, then deep objects": b'{"d":1e400,"v":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "beyond a double, then a control character": b'{"d":1e400,"text":"a\x00b"}',
    "beyond a double, then many digits": b'{"d":1e400,"i":' + b"9" * 50_000 + b"}",
    "many digits": b'{"i":' + b"9" * 50_000 + b"}",
    "many digits, negative": b'{"i":-' + b"9" * 50_000 + b"}",
    "many digits, then the end": b'{"i":' + b"9" * 50_000,
    "many digits after a zero": b'{"i":0' + b"9" * 50_000 + b"}",
    "many digits in a string": b'{"i":"' + b"9" * 50_000 + b'"}',
    "an exponent of many digits": b'{"d":1e' + b"9" * 50_000 + b"}",
    "a fraction of many digits, beyond a double": b'{"d":1.' + b"9" * 50_000 + b"e400}",
    "deep unclosed": b"[" * 50_000,
    "deep after a name given twice": b'{"z":1,"z":' + b"[" * 900 + b"]" * 900 + b"}",
    "UTF-16": '{"d":1e400}'.encode("utf-16"),
    "nothing": b"",
}
DEPTHS = [90, 100, 101, 200, 300, 400, 500, 600, 700, 800, 850, *range(880, 1060, 6)]


def rich() -> Contract:
    """A message with a field of each kind that documents go wrong in."""
    file = FileDescriptorProto(name="rich.proto", package="rich.v1", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    message = file.message_type.add(name="Rich")
    message.field.add(name="d", number=1, label=ONE, type=Field.TYPE_DOUBLE)
    message.field.add(name="text", number=2, label=ONE, type=Field.TYPE_STRING)
    message.field.add(name="i", number=3, label=ONE, type=Field.TYPE_INT64)
    message.field.add(name="v", number=4, label=ONE, type=Field.TYPE_MESSAGE, type_name=".google.protobuf.Value")
    message.field.add(name="child", number=5, label=ONE, type=Field.TYPE_MESSAGE, type_name=".rich.v1.Rich")
    struct = FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct)
    descriptor = build_pool(FileDescriptorSet(file=[file, struct])).FindMessageTypeByName("rich.v1.Rich")
    return Contract.from_descriptors(descriptor, descriptor)


@pytest.fixture
async def open_rich() -> AsyncGenerator[LocalGateway]:
    with anyio.fail_after(120):
        async with open_gateway() as gateway:
            await gateway.model(RICH, rich())
            yield gateway


def refused(reply: Response) -> None:
    assert 400 <= reply.status_code < 500, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = msgspec.json.decode(reply.content, type=dict[str, object])
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    assert problem["status"] == reply.status_code


def taken_or_refused(reply: Response) -> None:
    if reply.status_code != 202:
        refused(reply)


async def send(gateway: LocalGateway, path: str, body: bytes, content_type: str = "application/json") -> Response:
    return await gateway.client.post(path, content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize("path", [CALL, TASKS])
@pytest.mark.parametrize("name", NAMED)
async def test_a_bad_document_is_a_problem(open_rich: LocalGateway, name: str, path: str) -> None:
    refused(await send(open_rich, path, NAMED[name]))


@pytest.mark.parametrize("name", [name for name, body in NAMED.items() if body.strip() and b"\n" not in body])
async def test_a_bad_line_of_a_batch_is_answered_by_a_problem(open_rich: LocalGateway, name: str) -> None:
    reply = await send(open_rich, BATCHES, NAMED[name] + b'\n{"text":"fine"}\n', "application/x-ndjson")
    assert reply.status_code == 200
    first, second = (msgspec.json.decode(line) for line in reply.content.splitlines())
    assert 400 <= first["error"]["status"] < 500
    assert second["state"] == "queued"


@pytest.mark.parametrize("opening", [b'{"v":%s}', b'{"d":1e400,"v":%s}', b'{"zz":1,"zz":%s}', b'{"v":1,"v":%s}'])
async def test_no_depth_of_nesting_is_an_internal_error(open_rich: LocalGateway, opening: bytes) -> None:
    for depth in DEPTHS:
        taken_or_refused(await send(open_rich, TASKS, opening % (b"[" * depth + b"]" * depth)))
        taken_or_refused(await send(open_rich, TASKS, opening % (b'{"a":' * depth + b"1" + b"}" * depth)))


PIECES = (
    *(b'{ } [ ] : , "a" "d" "text" "v" "child" 1 1e400 -1e999 null true "\\ud800" "\\udc00\\ud800" "\\u0000"'.split()),
    b"\xff",
    b"\xed\xa0\x80",
    b'"\xf0\x9f\x98\x80"',
    b"9" * 5000,
    b"NaN",
    b"[" * 300,
    b'{"v":' * 300,
    b"\x00",
    b"\\",
    b"\xef\xbb\xbf",
)
WHOLE = (
    b'{"d":1.5,"text":"abc","i":"12","v":{"a":[1,2,{"b":null}]},"child":{"d":1e400,"text":"x"}}',
    b'{"v":[[[[{"a":1,"a":[1e400]}]]]],"text":"\\ud83d\\ude00"}',
)


def mutated(rng: random.Random) -> bytes:
    """A document with some random damage; without line ends, so that it is one line of a batch too."""
    body = bytearray(rng.choice(WHOLE))
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body[at:at] = rng.choice(PIECES)
            case 1:
                del body[at : at + rng.randint(1, 12)]
            case 2:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case _:
                body[at:at] = body[: rng.randrange(len(body) + 1)]
    return bytes(body).replace(b"\n", b" ").replace(b"\r", b" ")


@pytest.mark.parametrize("seed", range(8))
async def test_no_damage_to_a_document_is_an_internal_error(open_rich: LocalGateway, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        body = mutated(rng)
        taken_or_refused(await send(open_rich, TASKS, body))
    lines = [mutated(rng) for _ in range(40)]
    reply = await send(open_rich, BATCHES, b"".join(line + b"\n" for line in lines), "application/x-ndjson")
    assert reply.status_code == 200
    answers = [msgspec.json.decode(line) for line in reply.content.splitlines()]
    assert len(answers) == sum(bool(line.strip()) for line in lines)
    assert all(400 <= answer["error"]["status"] < 500 for answer in answers if "error" in answer)


@pytest.mark.parametrize("path", ["/v1/models/%ED%A0%80", "/v1/tasks/%ED%A0%80", "/v1/%FF", "/v1/models/%FF%00/tasks"])
async def test_a_path_that_is_not_utf8_is_a_problem(open_rich: LocalGateway, path: str) -> None:
    refused(await open_rich.client.get(path))
    refused(await send(open_rich, path, b'{"\\ud800":1e400}'))
