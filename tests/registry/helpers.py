"""Entries and contracts for tests of the registry, among them one contract as it grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.contract import Contract
from hub.ports.directory import InstanceEntry
from hub.types import InstanceId, ModelName, new_instance_id
from hub.v1 import contract_pb2

TIMEOUT: Final = 30.0
"""Seconds after which a test that hangs fails; nothing here takes one."""

TEXTS: Final[Contract] = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
DIGITS: Final[Contract] = Contract.from_descriptors(DigitsRequest.DESCRIPTOR, DigitsResponse.DESCRIPTOR)

MODEL: Final = ModelName("ModelA")


def entry_of(
    model: str = MODEL,
    *,
    contract: Contract = TEXTS,
    url: str = "http://127.0.0.1:9",
    at: float = 1.0,
    id: InstanceId | None = None,  # noqa: A002 - the field's name
) -> InstanceEntry:
    return InstanceEntry(
        id=id or new_instance_id(),
        model=ModelName(model),
        url=url,
        fingerprint=contract.fingerprint,
        logged_in_at=at,
    )


def numbered(kind: FieldDescriptorProto.Type.ValueType) -> Contract:
    """With a number of this type in both messages."""
    return _contract({"number": kind})


def grown(*added: str, text: str = "text") -> Contract:
    """Requests and responses with a field `text` (or by another name), and more of them."""
    return _contract(dict.fromkeys((text, *added), FieldDescriptorProto.TYPE_STRING))


def _contract(fields: Mapping[str, FieldDescriptorProto.Type.ValueType]) -> Contract:
    file = FileDescriptorProto(name="grow/v1/grow.proto", package="grow.v1", syntax="proto3")
    for name in ("Ask", "Answer"):
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            message.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL, type=kind)
    found = contract_pb2.Contract(
        request="grow.v1.Ask", response="grow.v1.Answer", files=FileDescriptorSet(file=[file])
    )
    return Contract.decode(found.SerializeToString())


PLAIN: Final = grown()
GROWN: Final = grown("tone")
GROWN_MORE: Final = grown("tone", "tune")
BROKEN: Final = grown(text="words")
