"""The contract of a model: its request and response message with their descriptors, as a value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, EncodeError

from hub.contract.descriptors.canonical import group_oneofs, without_reservations
from hub.contract.descriptors.closure import descriptor_closure
from hub.contract.descriptors.limits import check_depth, check_size
from hub.contract.descriptors.pool import build_pool
from hub.contract.errors import InvalidContract
from hub.contract.rules.compiled import compile_rules
from hub.types import Fingerprint
from hub.v1 import contract_pb2

MAX_BYTES: Final = 2 * 1024 * 1024
"""Bytes of a serialized contract that `Contract.decode` accepts."""

_STREAMING: Final = b"streaming"
"""What the fingerprint of a streaming contract has besides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Request and response message of a model, with the canonical closure of their descriptors.

    Attributes:
        request: Full name of the request message, such as `examples.digits.v1.DigitsRequest`.
        response: Full name of the response message.
        files: A serialized, canonical `FileDescriptorSet`: dependencies first, source info stripped.
        fingerprint: SHA-256 over the two names, `files` without what they reserve, and `streaming` if it is set. Equal
            fingerprints mean the same wire and JSON form and the same rules; two such contracts may reserve different
            names and numbers.
        streaming: Whether the response is a stream of such messages instead of one.
    """

    request: str
    response: str
    files: bytes
    fingerprint: Fingerprint
    streaming: bool = False

    @classmethod
    def from_descriptors(cls, request: Descriptor, response: Descriptor, *, streaming: bool = False) -> Contract:
        """The contract of a model that takes `request` and returns `response`, or with `streaming` any number of these.

        The descriptors may come from generated code or from any pool. The fingerprint depends on the wire and the JSON
        form of both messages, on their rules (`buf.validate`), and on the names and places of declarations, and on
        nothing else.

        Raises:
            InvalidContract: The two messages come from pools that contradict each other, a limit is exceeded, or a
                rule of `buf.validate` is not supported.
        """
        check_depth([request, response])
        for message in (request, response):
            compile_rules(message)
        files = (
            descriptor_closure([request, response])
            if request.file.pool is response.file.pool
            else _joined(request, response)
        )
        check_size(files)
        serialized = files.SerializeToString(deterministic=True)
        decisive = without_reservations(files).SerializeToString(deterministic=True)
        digest = hashlib.sha256()
        parts = [request.full_name.encode(), response.full_name.encode(), decisive]
        if streaming:  # only then, so that all other fingerprints stay what they were
            parts.append(_STREAMING)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return cls(
            request=request.full_name,
            response=response.full_name,
            files=serialized,
            fingerprint=Fingerprint(digest.hexdigest()),
            streaming=streaming,
        )

    def encode(self) -> bytes:
        """Serializes to `hub.v1.Contract`."""
        message = contract_pb2.Contract(request=self.request, response=self.response, streaming=self.streaming)
        message.files.ParseFromString(self.files)
        return message.SerializeToString(deterministic=True)

    @property
    def descriptors(self) -> FileDescriptorSet:
        """The files in a form that all other tools can load: canonical but for the order of oneof members."""
        files = FileDescriptorSet.FromString(self.files)
        for file in files.file:
            group_oneofs(file.message_type)
        return files

    @classmethod
    def decode(cls, data: bytes) -> Contract:
        """Reads a serialized `hub.v1.Contract` of any origin, canonical or not.

        Raises:
            InvalidContract: `data` is not a contract, a file or a message is missing, or a limit is exceeded.
        """
        if len(data) > MAX_BYTES:
            raise InvalidContract(f"{len(data)} bytes; at most {MAX_BYTES} are allowed")
        try:
            message = contract_pb2.Contract.FromString(data)
            pool = build_pool(message.files)
            request = pool.FindMessageTypeByName(message.request)
            response = pool.FindMessageTypeByName(message.response)
            return cls.from_descriptors(request, response, streaming=message.streaming)
        except DecodeError as error:
            raise InvalidContract(f"not a serialized hub.v1.Contract: {error}") from error
        except KeyError as error:
            raise InvalidContract(f"its files do not declare the message that it names: {error}") from error
        except (EncodeError, UnicodeError) as error:
            # descriptor.proto is proto2, whose strings are checked only when they are read.
            raise InvalidContract(f"its files are damaged: {error}") from error


def _joined(request: Descriptor, response: Descriptor) -> FileDescriptorSet:
    """The closure of messages from two pools."""
    files = {file.name: file for descriptor in (request, response) for file in descriptor_closure([descriptor]).file}
    pool = build_pool(FileDescriptorSet(file=files.values()))
    try:
        found = [pool.FindMessageTypeByName(descriptor.full_name) for descriptor in (request, response)]
    except KeyError as error:
        raise InvalidContract(f"request and response come from different versions of a file: {error}") from error
    return descriptor_closure(found)
