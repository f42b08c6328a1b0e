"""From the bytes of a request to what a model is given, and from what it returns to the bytes of a response."""

from __future__ import annotations

from typing import Any, final

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.errors import Undecodable
from hub.model.errors import UnreadableResponse, WrongResponse
from hub.model.execution.exits import exits_as_errors
from hub.model.model import Model, type_arguments


@final
class MessageCodec:
    """The messages of one model, read and written."""

    def __init__(self, model: Model[Any, Any]) -> None:
        self._name = model.name
        with exits_as_errors("get_request_format or get_response_format"):
            self._request = model.get_request_format()
            self._response = model.get_response_format()
        # The class that the author's types name, so that isinstance() works; without one, bytes (see Model).
        self._raw = type_arguments(type(model), Model) is None
        self._request_class: type[Message] = GetMessageClass(self._request)
        self._response_class: type[Message] = GetMessageClass(self._response)

    def decode(self, body: bytes) -> Message | bytes:
        """What `process_request` is given for a serialized request.

        Raises:
            Undecodable: `body` is not the request message of the model.
        """
        try:
            request = self._request_class.FromString(body)
        except DecodeError as error:
            raise Undecodable(self._request.full_name, str(error)) from error
        return body if self._raw else request

    def encode(self, response: object) -> bytes:
        """The serialized response that `process_request` returned.

        It is read back once. protobuf writes messages that no reader takes, and the model's own run is the last place
        where that can become the failure of the task; later it would be an error at each look at the result.

        Raises:
            WrongResponse: It returned something else.
            UnreadableResponse: It returned a message that cannot be read back from its serialized form.
        """
        # Of the class: a field may be called DESCRIPTOR too.
        descriptor = type(response).DESCRIPTOR if isinstance(response, Message) else None
        if not isinstance(response, Message) or descriptor is None or descriptor.full_name != self._response.full_name:
            returned = repr(type(response).__qualname__) if descriptor is None else descriptor.full_name
            raise WrongResponse(self._name, self._response.full_name, returned)
        body = type(response).SerializeToString(response)
        try:
            self._response_class.FromString(body)
        except DecodeError as error:
            raise UnreadableResponse(self._name, self._response.full_name, str(error)) from error
        return body
