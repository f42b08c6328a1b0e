"""Contracts as the registry's routes carry them: serialized `hub.v1.Contract` messages."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hub.contract.contract import Contract
from hub.v1 import contract_pb2


def encode_contract(contract: Contract) -> bytes:
    message = contract_pb2.Contract(
        request=contract.request, response=contract.response, files=FileDescriptorSet.FromString(contract.files)
    )
    return message.SerializeToString(deterministic=True)
