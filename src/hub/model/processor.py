"""From the bytes of a request to the bytes of a response, through a model."""

from __future__ import annotations

from inspect import isawaitable, iscoroutinefunction
from typing import Any, cast, final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.errors import Undecodable
from hub.model.errors import WrongResponse
from hub.model.formats import type_arguments
from hub.model.model import Model


@final
class Processor:
    """Calls `process_request` of one model: awaits it, or runs it in a thread of the model's own.

    A plain `process_request` has as many threads as the model has `concurrency`. When its caller is cancelled the
    thread goes on and its answer is dropped; it keeps its place among the threads until it has ended.
    """

    def __init__(self, model: Model[Any, Any]) -> None:
        self._model = model
        self._request = model.get_request_format()
        self._response = model.get_response_format()
        # The class that the author's types name, so that isinstance() works; without one, bytes (see Model).
        self._raw = type_arguments(type(model), Model) is None
        self._request_class: type[Message] = GetMessageClass(self._request)
        self._in_thread = not iscoroutinefunction(model.process_request)
        self._threads = CapacityLimiter(model.concurrency)

    async def __call__(self, body: bytes) -> bytes:
        """Processes one serialized request and returns the serialized response.

        Raises:
            Undecodable: `body` is not the request message of the model.
            WrongResponse: The model returned something else than its response message.
            Exception: Whatever the model raised.
        """
        request = self._decode(body)
        if self._in_thread:
            response = await run_sync(
                self._model.process_request, request, abandon_on_cancel=True, limiter=self._threads
            )
            if isawaitable(response):  # a plain def that hands out a coroutine, such as a functools.partial
                response = await response
        else:
            response = await cast("Any", self._model.process_request(request))  # iscoroutinefunction said so
        return self._encode(response)

    def _decode(self, body: bytes) -> Message | bytes:
        try:
            request = self._request_class.FromString(body)
        except DecodeError as error:
            raise Undecodable(self._request.full_name, str(error)) from error
        return body if self._raw else request

    def _encode(self, response: object) -> bytes:
        if isinstance(response, Message) and response.DESCRIPTOR.full_name == self._response.full_name:
            return response.SerializeToString()
        returned = response.DESCRIPTOR.full_name if isinstance(response, Message) else repr(type(response).__qualname__)
        raise WrongResponse(self._model.name, self._response.full_name, str(returned))
