"""What the gateway needs of a contract, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from google.protobuf.message import DecodeError

from hub.concurrency.offload import in_thread_if_large
from hub.contract import Components, Contract, InvalidContract, compile_contract, input_schema, output_schema
from hub.contract.jsonschema.example import example_of
from hub.gateway.errors import UndecodableBody

_USUAL_WIDTH: Final = 5
"""Fields of a message. One without content takes two bytes in protobuf, and in JSON all its fields at their defaults."""


@dataclass(frozen=True, slots=True)
class Schemas:
    """JSON Schemas (2020-12).

    Attributes:
        request: Of the documents that are read as a request.
        response: Of the documents that are written as a response.
        components: What both refer to by `$ref`.
    """

    request: Mapping[str, object]
    response: Mapping[str, object]
    components: Mapping[str, Mapping[str, object]]


@final
class Codec:
    """Requests in and responses out, as JSON or protobuf, and the JSON Schemas of both.

    Raises:
        InvalidContract: The contract cannot be used.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract: Final = contract
        try:
            self._loaded = compile_contract(contract)
            self._request_class = self._loaded.request_class
            self._request = self._loaded.request_transcoder
            self._response = self._loaded.response_transcoder
        except (DecodeError, KeyError) as error:  # it came over the network, so its parts need not fit together
            raise InvalidContract(f"its files do not declare its messages: {error}") from error
        except RecursionError as error:
            raise InvalidContract("its messages refer to each other in a chain that is too long") from error
        widest = max(len(message.fields) for message in self._loaded.types.values())
        self._width = max(1, widest // _USUAL_WIDTH)

    async def request_from_json(self, document: bytes) -> bytes:
        """The request message that a JSON document describes, serialized.

        Raises:
            InvalidDocument: It describes none; lists each bad field.
            MalformedJson: It is no JSON at all.
        """
        return await in_thread_if_large(len(document), partial(self._request.decode_json, document))

    def require_request(self, document: bytes) -> None:
        """Checks a small JSON document, at once; raises what `request_from_json` does."""
        self._request.decode_json(document)

    async def checked_request(self, body: bytes) -> bytes:
        """A serialized request message as a client sent it.

        Raises:
            UndecodableBody: It is none.
        """
        try:
            await in_thread_if_large(len(body), partial(self._request_class.FromString, body))
        except DecodeError as error:
            raise UndecodableBody(f"the body is no serialized {self.contract.request}: {error}") from error
        return body

    async def response_to_json(self, body: bytes) -> bytes:
        """A serialized response message as JSON; fields without presence are written with their defaults too.

        Raises:
            NoJsonForm: It has a value that JSON cannot express.
            Undecodable: It is not the response message of the model.
        """
        write = partial(self._response.encode_json, body, including_defaults=True)
        return await in_thread_if_large(len(body) * self._width, write)

    @property
    def example(self) -> object:
        """A request that the model takes, as a JSON document."""
        return example_of(self._loaded.request)

    def schemas(self, *, ref_prefix: str) -> Schemas:
        """The JSON Schemas of both messages and of everything that they refer to; each `$ref` starts with `ref_prefix`."""
        loaded, components = self._loaded, Components(ref_prefix)
        request = input_schema(loaded.request, loaded.types, components)
        response = output_schema(loaded.response, loaded.types, components)
        return Schemas(request.root, response.root, components.schemas)
