"""One contract as it grows, and one that breaks it."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.contract import Contract
from hub.v1 import contract_pb2


def grown(*added: str, text: str = "text") -> Contract:
    """Requests and responses with a field `text` (or by another name), and more of them."""
    file = FileDescriptorProto(name="grow/v1/grow.proto", package="grow.v1", syntax="proto3")
    for name in ("Ask", "Answer"):
        message = file.message_type.add(name=name)
        for number, field in enumerate((text, *added), start=1):
            message.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
                type=FieldDescriptorProto.TYPE_STRING,
            )
    found = contract_pb2.Contract(
        request="grow.v1.Ask", response="grow.v1.Answer", files=FileDescriptorSet(file=[file])
    )
    return Contract.decode(found.SerializeToString())


PLAIN: Final = grown()
GROWN: Final = grown("tone")
GROWN_MORE: Final = grown("tone", "tune")
BROKEN: Final = grown(text="words")
