"""Models and instances that log in."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from google.protobuf import struct_pb2, timestamp_pb2

from hub.contract.contract import Contract
from hub.ports.directory import Directory, InstanceEntry, ModelLimits, RegisteredContract
from hub.types import ModelName, new_instance_id

TIMEOUT: Final = 30.0
"""Seconds that any one wait of the suite may take."""

ONE: Final = Contract.from_descriptors(struct_pb2.Struct.DESCRIPTOR, struct_pb2.Value.DESCRIPTOR)
ANOTHER: Final = Contract.from_descriptors(struct_pb2.Struct.DESCRIPTOR, timestamp_pb2.Timestamp.DESCRIPTOR)
THIRD: Final = Contract.from_descriptors(timestamp_pb2.Timestamp.DESCRIPTOR, struct_pb2.Value.DESCRIPTOR)


def new_model() -> ModelName:
    """A name that no other test uses, so that servers can be shared."""
    return ModelName(f"t{uuid4().hex}")


def instance(model: ModelName, contract: Contract = ONE, *, logged_in_at: float = 1.7e9) -> InstanceEntry:
    return InstanceEntry(
        id=new_instance_id(),
        model=model,
        url="http://10.0.0.7:40123",
        fingerprint=contract.fingerprint,
        logged_in_at=logged_in_at,
        example='{"who": "one that has everything"}',
        limits=ModelLimits(concurrency=8, default_timeout=20.5, max_timeout=3600.0, max_batch_size=32),
        comments=(("a.v1.Ask", "A question,\nin two lines."),),
    )


async def instances_of(directory: Directory, *models: ModelName) -> list[InstanceEntry]:
    return [entry for entry in await directory.instances() if entry.model in models]


async def contracts_of(directory: Directory, *models: ModelName) -> list[RegisteredContract]:
    return [known for known in await directory.contracts() if known.model in models]
