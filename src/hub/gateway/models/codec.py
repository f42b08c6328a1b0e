"""Messages of a contract as JSON and protobuf, and the one cache of compiled contracts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import msgspec
import structlog
from google.protobuf.message import DecodeError

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import (
    CompiledContract,
    Components,
    Contract,
    InvalidContract,
    InvalidDocument,
    input_schema,
    output_schema,
)
from hub.contract.comments import Comments
from hub.contract.jsonschema.comments import describe
from hub.contract.jsonschema.example import example_of
from hub.errors import HubError
from hub.gateway.models.registry_queries import RegistryQueries, registry_timeout
from hub.safe_text import full_name, printable
from hub.task import TaskRecord
from hub.types import Fingerprint, ModelName

MAX_CODECS: Final = 512
"""Contracts that are kept compiled: the present ones of all models, and former ones whose results may be read."""

_USUAL_WIDTH: Final = 5
"""Fields of a message. One without content takes two bytes in protobuf, and in JSON all its fields at their defaults."""

_log = structlog.get_logger("hub.gateway")


@final
class UndecodableBody(HubError):
    """A protobuf body that is not the request message of the model."""

    code = "invalid_request"
    status = 422
    title = "Not the request message of the model"


@dataclass(frozen=True, slots=True)
class MessageSchemas:
    """JSON Schemas (2020-12).

    Attributes:
        request: Of the documents that are accepted as a request.
        response: Of the documents that a response is written as.
        components: The schemas that both refer to by `$ref`.
    """

    request: Mapping[str, object]
    response: Mapping[str, object]
    components: Mapping[str, Mapping[str, object]]


@final
class Codec:
    """Decodes requests and encodes responses of one contract, and describes both as JSON Schema.

    Raises:
        InvalidContract: The contract cannot be compiled.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract
        try:
            self._compiled = CompiledContract(contract)
            self._request_class = self._compiled.request_class
            self._request = self._compiled.request_transcoder
            self._response = self._compiled.response_transcoder
        except (DecodeError, KeyError) as error:  # it came over the network, so its parts need not fit together
            raise InvalidContract(f"its files do not declare its messages: {error}") from error
        except RecursionError as error:
            raise InvalidContract("its messages refer to each other in a chain that is too long") from error
        widest = max(len(message.fields) for message in self._compiled.types.values())
        self._width = max(1, widest // _USUAL_WIDTH)

    async def request_from_json(self, document: bytes) -> bytes:
        """The request message that a JSON document describes, serialized.

        Raises:
            InvalidDocument: It describes none, or one that breaks its rules; lists each bad field.
            MalformedJson: It is not JSON.
        """
        return await in_thread_if_large(
            len(document) * self._request.weight, partial(self._request.decode_json, document)
        )

    def check_request(self, document: bytes) -> None:
        """Checks a small JSON document in this thread; raises the errors of `request_from_json`."""
        self._request.decode_json(document)

    async def checked_request(self, body: bytes) -> bytes:
        """Returns `body`, a serialized request message from a client.

        Raises:
            BrokenRules: It breaks rules of its `.proto` file.
            UndecodableBody: It is not the request message.
        """
        try:
            await in_thread_if_large(len(body) * self._request.weight, partial(self._read_request, body))
        except DecodeError as error:
            raise UndecodableBody(f"the body is no serialized {self.contract.request}: {error}") from error
        return body

    def _read_request(self, body: bytes) -> None:
        self._request.check(self._request_class.FromString(body))

    async def response_to_json(self, body: bytes) -> bytes:
        """A serialized response message as JSON; fields without presence are written with their defaults too.

        Raises:
            NotJsonRepresentable: It has a value that JSON cannot express.
            Undecodable: It is not the response message of the model.
        """
        write = partial(self._response.encode_json, body, including_defaults=True)
        return await in_thread_if_large(len(body) * self._width, write)

    @property
    def example(self) -> object:
        """A request that the model accepts, as a JSON document, derived from the contract; `None` if it breaks a rule."""
        example = example_of(self._compiled.request)
        if example is None or not self._request.has_rules:
            return example
        try:
            self.check_request(msgspec.json.encode(example))
        except InvalidDocument:
            return None
        return example

    def schemas(self, *, ref_prefix: str, comments: Comments = ()) -> MessageSchemas:
        """The JSON Schemas of both messages and of everything that they refer to, with comments on these as descriptions.

        Each `$ref` starts with `ref_prefix`.
        """
        compiled, components = self._compiled, Components(ref_prefix)
        request = input_schema(compiled.request, compiled.types, components)
        response = output_schema(compiled.response, compiled.types, components)
        describe(components, compiled.types, dict(comments))
        return MessageSchemas(request.root, response.root, components.schemas)


@final
class CodecResolver:
    """Compiles contracts, and keeps the codecs that were used last.

    A gateway that started after a model had changed its contract knows the former contract from the registry only, and
    compiles it when a result is read that was written for it.

    Args:
        registry: Stores every contract that it has ever accepted.
    """

    def __init__(self, registry: RegistryQueries) -> None:
        self._registry = registry
        self._codecs: OrderedDict[Fingerprint, Codec] = OrderedDict()
        self._limit = MAX_CODECS

    def reserve(self, models: int) -> None:
        """Makes room for the present contracts of this number of models, or `MAX_CODECS`, whichever is more."""
        self._limit = max(MAX_CODECS, models)
        self._evict()

    def known(self, fingerprint: Fingerprint) -> Codec | None:
        """The codec of this contract if it is in the cache."""
        return self._codecs.get(fingerprint)

    def keep(self, contract: Contract) -> None:
        """Counts the contract as used now, so that its codec is dropped later than those of former contracts."""
        if contract.fingerprint in self._codecs:
            self._codecs.move_to_end(contract.fingerprint)

    async def compile(self, model: ModelName, contract: Contract) -> Codec | None:
        """The codec of a contract that the registry has accepted; `None` if it cannot be compiled here."""
        codec = self._codecs.get(contract.fingerprint)
        if codec is None:
            try:
                codec = await in_thread_if_large(len(contract.files) * CONTRACT_WEIGHT, partial(Codec, contract))
            except Exception as error:  # noqa: BLE001 - a contract is foreign data: one must not end what serves the others
                # The registry has accepted it, so its version of hub may be newer. Another attempt would fail too.
                reason = str(error) if isinstance(error, InvalidContract) else f"{full_name(type(error))}: {error}"
                _log.error("contract cannot be compiled", model=model, reason=printable(reason, 500))
                return None
            self._codecs[contract.fingerprint] = codec
            self._evict()
        self._codecs.move_to_end(contract.fingerprint)
        return codec

    async def resolve(self, record: TaskRecord) -> Codec | None:
        """The codec for the request and the response of a task.

        Returns:
            `None` if the registry does not have the contract, does not answer, or this version of hub cannot compile it:
            then the messages can be passed on as protobuf only.
        """
        known = self._codecs.get(record.fingerprint)
        if known is not None:
            return known
        try:
            with registry_timeout():
                contract = await self._registry.contract(record.model, record.fingerprint)
        except HubError as error:
            _log.warning("the contract of a task cannot be fetched", model=record.model, reason=str(error))
            return None
        return None if contract is None else await self.compile(record.model, contract)

    def _evict(self) -> None:
        while len(self._codecs) > self._limit:
            self._codecs.popitem(last=False)
