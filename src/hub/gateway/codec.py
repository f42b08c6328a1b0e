"""What the gateway needs of a contract, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from hub.contract.contract import Contract
from hub.contract.errors import InvalidDocument, Problem
from hub.contract.pool import pool_of
from hub.gateway.errors import UndecodableBody


@dataclass(frozen=True, slots=True)
class Schemas:
    """JSON Schemas (2020-12): of a request, of a response, and of the components that both refer to by `$ref`."""

    request: Mapping[str, object]
    response: Mapping[str, object]
    components: Mapping[str, Mapping[str, object]]


@final
class Codec:
    """Requests in and responses out, as JSON or protobuf, and the JSON Schemas of both."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        pool = pool_of(FileDescriptorSet.FromString(contract.files))
        self._pool = pool
        self._request = message_factory.GetMessageClass(pool.FindMessageTypeByName(contract.request))
        self._response = message_factory.GetMessageClass(pool.FindMessageTypeByName(contract.response))

    def request_from_json(self, document: bytes) -> bytes:
        """The request message that a JSON document describes, serialized.

        Raises:
            InvalidDocument: It describes none; lists each bad field.
            MalformedJson: It is no JSON at all.
        """
        try:
            return json_format.Parse(document, self._request(), descriptor_pool=self._pool).SerializeToString()
        except json_format.ParseError as error:
            raise InvalidDocument(self.contract.request, [Problem("", str(error))]) from error

    def checked_request(self, body: bytes) -> bytes:
        """A serialized request message as a client sent it.

        Raises:
            UndecodableBody: It is none.
        """
        try:
            self._request.FromString(body)
        except DecodeError as error:
            raise UndecodableBody(f"the body is no serialized {self.contract.request}: {error}") from error
        return body

    def response_to_json(self, body: bytes) -> bytes:
        """A serialized response message as JSON."""
        return json_format.MessageToJson(self._response.FromString(body), descriptor_pool=self._pool).encode()

    @property
    def example(self) -> object:
        """A request that the model takes, as a JSON document."""
        return {}

    def schemas(self, *, prefix: str, ref_prefix: str) -> Schemas:
        """The JSON Schemas of both messages and of everything that they refer to.

        Args:
            prefix: Starts the name of each component.
            ref_prefix: Starts each `$ref` to one.
        """
        del prefix, ref_prefix
        return Schemas({}, {}, {})
