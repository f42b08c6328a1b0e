"""One contract as it grows, and one that breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.contract import Contract
from hub.v1 import contract_pb2


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
