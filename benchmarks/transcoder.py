"""Transcoding of one message of about 1 kB of JSON: hub against `google.protobuf.json_format`.

    .venv/bin/python benchmarks/transcoder.py

Prints the best of several rounds in microseconds of processor time per document, and how many times faster hub is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

from google.protobuf import json_format, timestamp_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

from hub.contract import Transcoder
from hub.contract.descriptors.pool import build_pool

ROUNDS: Final = 25
CALLS: Final = 60

DOCUMENT: Final = {
    "text": "hello world",
    "big": "9007199254740993",
    "vector": [index * 0.5 for index in range(64)],
    "items": [{"name": f"item {index}", "score": index * 0.1} for index in range(10)],
    "labels": {"a": "b", "c": "d"},
    "picture": "aGVsbG8gd29ybGQ=",
    "at": "2026-11-23T05:00:00Z",
    "mode": "MODE_FAST",
    "topK": 3,
    "note": "x" * 120,
}


def main() -> None:
    descriptor = request()
    message_class = GetMessageClass(descriptor)
    pool = descriptor.file.pool
    transcoder = Transcoder(descriptor)
    text = json.dumps(DOCUMENT).encode()
    body = transcoder.decode_json(text)
    if message_class.FromString(body) != json_format.Parse(text, message_class(), descriptor_pool=pool):
        raise SystemExit("the two do not agree; there is nothing to compare")

    def oracle_decode() -> bytes:
        return json_format.Parse(text, message_class(), descriptor_pool=pool).SerializeToString()

    def oracle_encode() -> str:
        return json_format.MessageToJson(message_class.FromString(body), descriptor_pool=pool)

    def oracle_encode_compact() -> str:
        return json_format.MessageToJson(message_class.FromString(body), descriptor_pool=pool, indent=None)

    print(f"{len(text)} bytes of JSON, {len(body)} bytes of protobuf")
    compare("JSON to protobuf", lambda: transcoder.decode_json(text), oracle_decode)
    compare("protobuf to JSON", lambda: transcoder.encode_json(body), oracle_encode)
    compare("protobuf to JSON, no indentation", lambda: transcoder.encode_json(body), oracle_encode_compact)


def compare(direction: str, own: Callable[[], object], oracle: Callable[[], object]) -> None:
    ours, theirs = best(own, oracle)
    print(f"{direction}: hub {ours:6.1f} us, json_format {theirs:6.1f} us, {theirs / ours:4.1f} times faster")


def best(*calls: Callable[[], object]) -> list[float]:
    """Microseconds for one run of each, in its fastest round; rounds alternate, so that noise affects all alike."""
    fastest = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            started = time.process_time()
            for _ in range(CALLS):
                call()
            fastest[index] = min(fastest[index], (time.process_time() - started) / CALLS * 1e6)
    return fastest


def request() -> Descriptor:
    """A request with fields of every kind."""
    file = FileDescriptorProto(name="bench.proto", package="bench.v1", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    mode = file.enum_type.add(name="Mode")
    mode.value.add(name="MODE_UNSPECIFIED", number=0)
    mode.value.add(name="MODE_FAST", number=1)
    item = file.message_type.add(name="Item")
    item.field.add(name="name", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    item.field.add(name="score", number=2, type=Field.TYPE_DOUBLE, label=Field.LABEL_OPTIONAL)
    message = file.message_type.add(name="Request")
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    fields: tuple[tuple[str, Field.Type.ValueType, str, bool], ...] = (
        ("text", Field.TYPE_STRING, "", False),
        ("big", Field.TYPE_INT64, "", False),
        ("vector", Field.TYPE_FLOAT, "", True),
        ("items", Field.TYPE_MESSAGE, ".bench.v1.Item", True),
        ("labels", Field.TYPE_MESSAGE, ".bench.v1.Request.LabelsEntry", True),
        ("picture", Field.TYPE_BYTES, "", False),
        ("at", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp", False),
        ("mode", Field.TYPE_ENUM, ".bench.v1.Mode", False),
        ("top_k", Field.TYPE_INT32, "", False),
        ("note", Field.TYPE_STRING, "", False),
    )
    for number, (name, kind, type_name, repeated) in enumerate(fields, start=1):
        label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=kind, type_name=type_name or None, label=label)
    timestamp = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    return build_pool(FileDescriptorSet(file=[file, timestamp])).FindMessageTypeByName("bench.v1.Request")


if __name__ == "__main__":
    main()
