"""Compiled contracts: descriptors in a private pool, message classes and transcoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Final, final

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from typing_extensions import override

from hub.contract.contract import Contract
from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.pool import build_pool, message_classes
from hub.contract.protojson.transcoder import Transcoder
from hub.contract.rules.compiled import compile_rules

CACHED: Final = 256
"""Compiled contracts in the cache of `compile_contract`; far more than one hub has models."""


@final
class CompiledContract:
    """A contract with its message classes and transcoders, without generated code. Made by `compile_contract`.

    Attributes:
        contract: The contract.
        pool: Its own descriptor pool; never protobuf's default one, so that contracts cannot collide.
        request: Descriptor of the request message.
        response: Descriptor of the response message.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract
        self.pool: Final[DescriptorPool] = build_pool(FileDescriptorSet.FromString(contract.files))
        self.request: Final[Descriptor] = self.pool.FindMessageTypeByName(contract.request)
        self.response: Final[Descriptor] = self.pool.FindMessageTypeByName(contract.response)

    @cached_property
    def types(self) -> Mapping[str, Descriptor]:
        """Every message of the contract by full name: those that an `Any` in it may contain."""
        return messages_of(files_of([self.request, self.response]))

    @cached_property
    def request_class(self) -> type[Message]:
        return self._class_of(self.request)

    @cached_property
    def response_class(self) -> type[Message]:
        return self._class_of(self.response)

    def _class_of(self, message: Descriptor) -> type[Message]:
        _ = self._classes
        return GetMessageClass(message)

    @cached_property
    def _classes(self) -> Sequence[type[Message]]:
        return message_classes([self.request, self.response, *self.types.values()])

    @cached_property
    def request_transcoder(self) -> Transcoder:
        """The transcoder of requests, which also checks their rules. Those of a response only describe it."""
        return Transcoder(self.request, self.types, rules=compile_rules(self.request))

    @cached_property
    def response_transcoder(self) -> Transcoder:
        return Transcoder(self.response, self.types)


def compile_contract(contract: Contract) -> CompiledContract:
    """Compiles a contract, or returns it from a bounded cache.

    Raises:
        InvalidContract: The files are inconsistent; not those of `Contract.from_descriptors` and `Contract.decode`.
    """
    return _compile(_ByFingerprint(contract))


@final
class _ByFingerprint:
    """A contract as a cache key, compared by its fingerprint only."""

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract

    @override
    def __hash__(self) -> int:
        return hash(self.contract.fingerprint)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByFingerprint) and self.contract.fingerprint == other.contract.fingerprint


@lru_cache(maxsize=CACHED)
def _compile(key: _ByFingerprint) -> CompiledContract:
    return CompiledContract(key.contract)
