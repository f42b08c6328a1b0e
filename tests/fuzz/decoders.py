"""Every decoder of hub as a target: of bytes from clients, broker, store, directory, registry and child processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.struct_pb2 import Value
from httpx2 import Headers
from pamqp import commands

from examples.digits.v1 import digits_pb2
from examples.model_a.v1 import model_a_pb2
from hub.amqp import AmqpOptions
from hub.amqp.protocol.connection import ConnectionState
from hub.contract import Contract
from hub.contract.protojson.transcoder import Transcoder
from hub.directories.redis import values
from hub.errors import ConnectionLost, HubError
from hub.gateway.models.codec import Codec
from hub.model.execution.process import frames
from hub.ports.directory import InstanceEntry, ModelLimits
from hub.redis.connection import Reply
from hub.registry.client.schemas import MESSAGE_HEADER
from hub.registry.tasks.descriptor_reader import decode_replies
from hub.registry.tasks.instance_http import InstanceReply
from hub.stores.redis import replies
from hub.task import Failure, Outcome, Task
from hub.types import Fingerprint, InstanceId, ModelName, TaskId, TaskState
from tests.amqp.fakes import ADDRESS, START, TUNE, FakeBroker, deliver, marshal
from tests.fuzz.campaign import Target, resident

_NOW: Final = 1_700_000_000.5
_BETWEEN: Final = b"\x00|\x00"
_TASK: Final = TaskId("01890000-0000-7000-8000-000000000001")
_INSTANCE: Final = InstanceId("01890000-0000-7000-8000-000000000002")
_CONTRACT: Final = Contract.from_descriptors(
    model_a_pb2.ModelARequest.DESCRIPTOR, model_a_pb2.ModelAResponse.DESCRIPTOR
)
_DIGITS: Final = Contract.from_descriptors(digits_pb2.DigitsRequest.DESCRIPTOR, digits_pb2.DigitsResponse.DESCRIPTOR)
_WIDE: Final = Contract.from_descriptors(FileDescriptorProto.DESCRIPTOR, Value.DESCRIPTOR)

TRANSCODERS: Final = tuple(
    Transcoder(kind.DESCRIPTOR)
    for kind in (model_a_pb2.ModelARequest, digits_pb2.DigitsRequest, FileDescriptorProto, Value)
)

DOCUMENTS: Final = (
    b'{"messages": "hello"}',
    b'{"pixels": [0, 1.5, 16]}',
    b'{"a": {"b": [1, null, true, 1e3, "\\u00e9"]}}',
    b'{"name": "a.proto", "messageType": [{"name": "M", "field": [{"name": "f", "number": 1, "type": "TYPE_INT32"}]}]}',
)


def decoders() -> Sequence[Target]:
    """All decoders, with seeds written by hub's encoders."""
    return [
        _target("json", DOCUMENTS, _json),
        _target("amqp", _amqp_seeds(), _amqp),
        _target("task", [_task().encode()], _task_message),
        _target("outcome", [each.encode() for each in _outcomes()], _outcome),
        _target("store", _record_seeds(), _stored),
        _target("directory", _directory_seeds(), _directory),
        _target("descriptors", [each.encode() for each in (_CONTRACT, _DIGITS, _WIDE)], _descriptors),
        _target("instance", _instance_seeds(), _instance_replies),
        _target("frames", _frame_seeds(), _frames),
    ]


def _target(name: str, seeds: Sequence[bytes], decode: Callable[[bytes], None]) -> Target:
    def run(data: bytes) -> None:
        try:
            decode(data)
        except HubError as refusal:
            str(refusal).encode()  # refusals are logged and sent, so their text must be text

    return Target(name, name, seeds, run, resident)


def _json(data: bytes) -> None:
    for transcoder in TRANSCODERS:
        try:
            message = transcoder.parse_json(data)
        except HubError as refusal:
            msgspec.json.encode({"detail": str(refusal), **refusal.extensions})
        else:
            transcoder.encode_json(message)


def _amqp(data: bytes) -> None:
    opening = ConnectionState(ADDRESS, AmqpOptions())
    opening.start_handshake()
    opening.receive(data)
    opening.lost(ConnectionLost("fake", "closed"))
    opened = ConnectionState(ADDRESS, AmqpOptions())
    broker = FakeBroker()
    opened.start_handshake()
    while sent := opened.output.take():
        opened.receive(broker.receive(sent))
    channel = opened.new_channel()
    reply = channel.open()
    channel.subscribe("q")
    while sent := opened.output.take():
        opened.receive(broker.receive(sent))
    opened.receive(data)
    opened.lost(ConnectionLost("fake", "closed"))
    if not (opening.opened.settled and reply.settled) or opened.channels:
        raise AssertionError("a call still waits for an answer on a lost connection")


def _task_message(data: bytes) -> None:
    task = Task.decode(data)
    Task.decode(task.encode())


def _outcome(data: bytes) -> None:
    outcome = Outcome.decode(data)
    Outcome.decode(outcome.encode())


def _stored(data: bytes) -> None:
    with suppress(HubError):
        replies.record(_TASK, _reply(data))
    replies.announcement(data)


def _directory(data: bytes) -> None:
    for read in (values.leases_of, values.changes_of):
        with suppress(HubError):
            read(_reply(data), lambda *_: None)
    with suppress(HubError):
        values.decoded(data, InstanceEntry)
    values.contract_of_json(data)


def _descriptors(data: bytes) -> None:
    codec = Codec(Contract.decode(data))
    codec.schemas(ref_prefix="#/components/schemas/")


def _instance_replies(data: bytes) -> None:
    files, request, response = [*data.split(_BETWEEN, 2), b"", b""][:3]
    named = {MESSAGE_HEADER.encode(): response} if response else {}
    replies = (
        InstanceReply(200, Headers(headers), body, complete=True)
        for body, headers in ((files, {}), (request, {}), (b"", named))
    )
    decode_replies("http://127.0.0.1:9", *replies)


def _instance_seeds() -> Sequence[bytes]:
    request = DescriptorProto(name="DigitsRequest").SerializeToString()
    return [_BETWEEN.join((_DIGITS.files, request, each)) for each in (_DIGITS.response.encode(), b"")]


def _frames(data: bytes) -> None:
    reader = frames.PipeFrameReader(frames.FROM_PROCESS)
    for start in range(0, len(data), 1000):
        reader.feed(data[start : start + 1000])


def _reply(data: bytes) -> Reply:
    """A reply of Redis, written as JSON whose strings are bytes; text that is not JSON is one bulk string."""
    try:
        return _bulk(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return data


def _bulk(value: object) -> Reply:
    match value:
        case str():
            return value.encode()
        case bool() | float() | dict():
            return str(value).encode()
        case list():
            return [_bulk(each) for each in value]
        case int() | None:
            return value
        case _:
            raise TypeError(type(value))


def _task() -> Task:
    return Task(
        id=_TASK,
        model=ModelName("ModelA"),
        body=b"\x0a\x05hello",
        fingerprint=Fingerprint("0" * 64),
        created_at=_NOW,
        deadline=_NOW + 60,
        result_ttl=3600.0,
        reply_channel="hub:replies",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        idempotency_key="key",
    )


def _outcomes() -> Iterator[Outcome]:
    yield Outcome(
        task_id=_TASK,
        state=TaskState.SUCCEEDED,
        body=b"x",
        attempt=1,
        instance=_INSTANCE,
        started_at=_NOW,
        finished_at=_NOW,
    )
    yield Outcome(
        task_id=_TASK, state=TaskState.FAILED, failure=Failure(code="model_error", message="no"), finished_at=_NOW
    )


def _record_seeds() -> Sequence[bytes]:
    fields = {
        "state": "queued", "deadline": "1700000060.5", "updated_at": "1700000000.5", "revision": "1", "attempt": "0",
        "model": "ModelA", "fingerprint": "0" * 64, "created_at": "1700000000.5", "ttl": "3600", "outcome": "",
        "retries": "0", "progress": "1700000000.5 0.5 half way", "instance": _INSTANCE,
    }  # fmt: skip
    flat = [word for item in fields.items() for word in item]
    return [msgspec.json.encode(flat), f"{_TASK} 3 succeeded".encode(), b'"gone"', b"[[1]]"]


def _directory_seeds() -> Sequence[bytes]:
    entry = InstanceEntry(
        id=_INSTANCE,
        model=ModelName("ModelA"),
        url="http://127.0.0.1:1",
        fingerprint=_CONTRACT.fingerprint,
        logged_in_at=_NOW,
        example="{}",
        limits=ModelLimits(),
    )
    encoded = msgspec.json.encode(entry)
    return [
        encoded,
        values.contract_to_json(entry, _CONTRACT),
        msgspec.json.encode([2, _INSTANCE, "7"]),
        msgspec.json.encode([5, 1, _INSTANCE, 4, encoded.decode(), "7 x", '{"state": "live"}']),
        msgspec.json.encode([5, 1, _INSTANCE, 4, None, None, None]),
    ]


def _frame_seeds() -> Sequence[bytes]:
    said: Sequence[frames.FromProcess] = [frames.StartedFrame(), frames.ResponseFrame(b"x")]
    return [frames.encode(each) for each in said]


def _amqp_seeds() -> Sequence[bytes]:
    return [
        marshal(0, START) + marshal(0, TUNE) + marshal(0, commands.Connection.OpenOk()),
        marshal(0, commands.Connection.Blocked(reason="low on memory")),
        marshal(1, commands.Channel.Close(reply_code=404, reply_text="", class_id=0, method_id=0)),
        marshal(1, commands.Basic.ConsumeOk(consumer_tag="hub.1")) + deliver(1, b"x") + deliver(2, b"y" * 300),
        marshal(1, commands.Basic.Cancel(consumer_tag="hub.1")),
        b"\x08\x00\x00\x00\x00\x00\x00\xce",
    ]
