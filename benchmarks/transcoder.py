"""Transcoding of four messages: hub against `google.protobuf.json_format`.

    python -m benchmarks.transcoder

For each shape and direction: microseconds of processor time per document in the best of several rounds, and how many
times faster hub is. `json_format` writes without indentation, which is the faster one of its forms.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Final, TypeAlias

from google.protobuf import json_format, timestamp_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto as Field,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from hub.contract import Transcoder
from hub.contract.descriptors.pool import build_pool

ROUNDS: Final = 25
CALLS: Final = 60
GOAL: Final = 8

Fields: TypeAlias = tuple[tuple[str, Field.Type.ValueType, str, bool], ...]

SHAPES: Final[Mapping[str, tuple[str, object]]] = {
    "small": ("Small", {"text": "hello world", "topK": 3, "mode": "MODE_FAST"}),
    "1 kB": (
        "Mixed",
        {
            "text": "hello world",
            "topK": 3,
            "mode": "MODE_FAST",
            "big": "9007199254740993",
            "vector": [index * 0.5 for index in range(64)],
            "items": [{"name": f"item {index}", "score": index * 0.1} for index in range(10)],
            "labels": {"a": "b", "c": "d"},
            "picture": "aGVsbG8gd29ybGQ=",
            "at": "2026-11-23T05:00:00Z",
            "note": "x" * 120,
        },
    ),
    "64 floats": ("Vector", {"vector": array("f", map(Random(1).gauss, [0] * 64, [1] * 64)).tolist()}),
    "nested": (
        "Nested",
        {
            "inner": [
                {
                    "text": f"part {part}",
                    "inner": [
                        {"text": "leaf", "topK": leaf + 1, "items": [{"name": "x", "score": 0.5}]} for leaf in range(3)
                    ],
                }
                for part in range(4)
            ]
        },
    ),
}


def main() -> None:
    pool = messages()
    for shape, (name, document) in SHAPES.items():
        measure(shape, pool.FindMessageTypeByName(f"bench.v1.{name}"), json_bytes(document))


def json_bytes(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def measure(shape: str, descriptor: Descriptor, text: bytes) -> None:
    message_class = GetMessageClass(descriptor)
    pool = descriptor.file.pool
    transcoder = Transcoder(descriptor)
    body = transcoder.decode_json(text)
    message = message_class.FromString(body)
    for document in (text, transcoder.encode_json(body)):
        if message != json_format.Parse(document, message_class(), descriptor_pool=pool):
            raise SystemExit("the two do not agree; there is nothing to compare")

    def decode() -> bytes:
        return json_format.Parse(text, message_class(), descriptor_pool=pool).SerializeToString()

    def encode(indent: int | None = 2) -> str:
        return json_format.MessageToJson(message_class.FromString(body), descriptor_pool=pool, indent=indent)

    print(f"{shape}: {len(text)} bytes of JSON, {len(body)} bytes of protobuf")
    compare("JSON to protobuf", lambda: transcoder.decode_json(text), decode)
    compare("protobuf to JSON", lambda: transcoder.encode_json(body), encode, partial(encode, None))


def compare(direction: str, own: Callable[[], object], *oracles: Callable[[], object]) -> None:
    ours, *theirs = best(own, *oracles)
    print(
        f"  {direction}: hub {ours:6.1f} us, json_format "
        + ", ".join(f"{each:6.1f} us, {each / ours:4.1f} times faster" for each in theirs)
    )


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


def messages() -> DescriptorPool:
    """A message for each shape; that of 1 kB has fields of every kind."""
    file = FileDescriptorProto(name="bench.proto", package="bench.v1", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    mode = file.enum_type.add(name="Mode")
    mode.value.add(name="MODE_UNSPECIFIED", number=0)
    mode.value.add(name="MODE_FAST", number=1)
    small: Fields = (
        ("text", Field.TYPE_STRING, "", False),
        ("top_k", Field.TYPE_INT32, "", False),
        ("mode", Field.TYPE_ENUM, ".bench.v1.Mode", False),
    )
    add(file, "Item", ("name", Field.TYPE_STRING, "", False), ("score", Field.TYPE_DOUBLE, "", False))
    add(file, "Small", *small)
    add(file, "Vector", ("vector", Field.TYPE_FLOAT, "", True))
    add(
        file,
        "Nested",
        *small,
        ("items", Field.TYPE_MESSAGE, ".bench.v1.Item", True),
        ("inner", Field.TYPE_MESSAGE, ".bench.v1.Nested", True),
    )
    mixed = add(
        file,
        "Mixed",
        *small,
        ("big", Field.TYPE_INT64, "", False),
        ("vector", Field.TYPE_FLOAT, "", True),
        ("items", Field.TYPE_MESSAGE, ".bench.v1.Item", True),
        ("labels", Field.TYPE_MESSAGE, ".bench.v1.Mixed.LabelsEntry", True),
        ("picture", Field.TYPE_BYTES, "", False),
        ("at", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp", False),
        ("note", Field.TYPE_STRING, "", False),
    )
    entry = mixed.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    timestamp = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    return build_pool(FileDescriptorSet(file=[file, timestamp]))


def add(file: FileDescriptorProto, name: str, *fields: tuple[str, Field.Type.ValueType, str, bool]) -> DescriptorProto:
    message = file.message_type.add(name=name)
    for number, (field, kind, type_name, repeated) in enumerate(fields, start=1):
        label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        message.field.add(name=field, number=number, type=kind, type_name=type_name or None, label=label)
    return message


if __name__ == "__main__":
    main()
