"""Decodes requests for a model, and encodes its responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import final

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.errors import Undecodable
from hub.model.definition import type_arguments
from hub.model.errors import UnreadableResponse, WrongResponse
from hub.model.execution.exits import exits_as_errors
from hub.model.model import AnyModel, Model, processes_batches


@final
class MessageCodec:
    """Decodes the requests of one model, and encodes its responses."""

    def __init__(self, model: AnyModel) -> None:
        self._name = model.name
        self._method = "process_batch" if processes_batches(type(model)) else "process_request"
        with exits_as_errors("get_request_format or get_response_format"):
            self._request = model.get_request_format()
            self._response = model.get_response_format()
        # The class of the author's type arguments, so that isinstance() works; without these, bytes (see Model).
        self._raw = type_arguments(type(model), Model) is None
        self._request_class: type[Message] = GetMessageClass(self._request)
        self._response_class: type[Message] = GetMessageClass(self._response)

    def decode(self, body: bytes) -> Message | bytes:
        """The argument of `process_request`, or one of `process_batch`, for a serialized request.

        Raises:
            Undecodable: `body` is not the request message of the model.
        """
        try:
            request = self._request_class.FromString(body)
        except DecodeError as error:
            raise Undecodable(self._request.full_name, str(error)) from error
        return body if self._raw else request

    def encode(self, response: object) -> bytes:
        """The serialized form of a response that the model returned.

        It is parsed once, because protobuf serializes messages that it cannot parse. Here that becomes the failure of the
        task; later it would be an error of every request for the result.

        Raises:
            WrongResponse: `response` is not the response message.
            UnreadableResponse: The serialized form of `response` cannot be parsed.
        """
        # Read from the class, because a field may be called DESCRIPTOR too.
        descriptor = type(response).DESCRIPTOR if isinstance(response, Message) else None
        if not isinstance(response, Message) or descriptor is None or descriptor.full_name != self._response.full_name:
            returned = repr(type(response).__qualname__) if descriptor is None else descriptor.full_name
            if isinstance(response, AsyncIterator | Iterator):
                returned = f"{returned} (to stream, yield in process_request itself, or set `streaming = True`)"
            raise WrongResponse(self._name, self._response.full_name, returned, self._method)
        body = type(response).SerializeToString(response)
        try:
            self._response_class.FromString(body)
        except DecodeError as error:
            raise UnreadableResponse(self._name, self._response.full_name, str(error), self._method) from error
        return body
