"""From the bytes of a request to what a model is given, and from what it returns to the bytes of a response."""

from __future__ import annotations

from typing import Any, final

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.errors import Undecodable
from hub.model.errors import WrongResponse
from hub.model.exits import exits_fail
from hub.model.formats import type_arguments
from hub.model.model import Model


@final
class Messages:
    """The messages of one model, read and written."""

    def __init__(self, model: Model[Any, Any]) -> None:
        self._name = model.name
        with exits_fail("get_request_format or get_response_format"):
            self._request = model.get_request_format()
            self._response = model.get_response_format()
        # The class that the author's types name, so that isinstance() works; without one, bytes (see Model).
        self._raw = type_arguments(type(model), Model) is None
        self._request_class: type[Message] = GetMessageClass(self._request)

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

        Raises:
            WrongResponse: It returned something else.
        """
        if isinstance(response, Message) and response.DESCRIPTOR.full_name == self._response.full_name:
            return response.SerializeToString()
        returned = response.DESCRIPTOR.full_name if isinstance(response, Message) else repr(type(response).__qualname__)
        raise WrongResponse(self._name, self._response.full_name, str(returned))
