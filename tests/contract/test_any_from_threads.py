"""A transcoder is complete when it is made: threads that use it at once, each for the first time, find nothing half-made."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorProto, FileDescriptorSet

from hub.contract import Transcoder
from hub.contract.descriptors.pool import build_pool
from tests.contract.random_descriptors import ONE

THREADS = 8
FIELDS = 60
MESSAGES = 20


@pytest.fixture
def _threads_change_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def holder() -> Descriptor:
    """A message with nothing but an Any, beside messages in a ring that only an Any can hold."""
    file = FileDescriptorProto(name="ring.proto", package="ring", syntax="proto3")
    file.dependency.append("google/protobuf/any.proto")
    file.message_type.add(name="Holder").field.add(
        name="held", number=1, label=ONE, type=Field.TYPE_MESSAGE, type_name=".google.protobuf.Any"
    )
    for at in range(MESSAGES):
        message = file.message_type.add(name=f"M{at}")
        for number in range(1, FIELDS):
            message.field.add(name=f"f{number}", number=number, label=ONE, type=Field.TYPE_STRING)
        after = f".ring.M{(at + 1) % MESSAGES}"
        message.field.add(name="next", number=FIELDS, label=ONE, type=Field.TYPE_MESSAGE, type_name=after)
    anything = FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(anything)
    return build_pool(FileDescriptorSet(file=[file, anything])).FindMessageTypeByName("ring.Holder")


@pytest.mark.usefixtures("_threads_change_often")
def test_threads_that_first_read_and_write_an_any_at_once_find_every_field() -> None:
    descriptor = holder()
    names = [f"f{number}" for number in range(1, FIELDS)]
    chain: dict[str, object] = {}
    for _ in range(MESSAGES):
        chain = {**dict.fromkeys(names, "x"), "next": chain}
    document = {"held": {"@type": "a/ring.M0", **chain}}
    text = json.dumps(document).encode()
    for _ in range(10):
        transcoder = Transcoder(descriptor)
        together = Barrier(THREADS)

        def use(transcoder: Transcoder = transcoder, together: Barrier = together) -> object:
            together.wait(30)
            return json.loads(transcoder.encode_json(transcoder.decode_json(text)))

        with ThreadPoolExecutor(THREADS) as pool:
            results = [pool.submit(use) for _ in range(THREADS)]
        assert all(result.result() == document for result in results)
