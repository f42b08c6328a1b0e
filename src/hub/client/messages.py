"""From requests to bodies, and from replies to response messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast, final

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from hub.client.errors import UnexpectedReply
from hub.model.model import Model, messages_of
from hub.types import ModelName, model_name

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

Json: TypeAlias = Any
"""A value of ProtoJSON: for most messages a `dict`. Its type depends on the message, which is not known here."""

JsonRequest: TypeAlias = Mapping[str, Any] | bytes
"""A request as ProtoJSON: a dict, or its text as UTF-8."""

AnyRequest: TypeAlias = Message | JsonRequest
ModelOrName: TypeAlias = "type[Model[Any, Any]] | str"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model as a client calls it.

    Attributes:
        name: Its name; empty for a task that is only known by its id.
        request: The class of its requests, `None` if it is not known.
        response: The class of its responses; without it they are read as JSON.
        streaming: Whether it streams, `None` if it is not known.
    """

    name: ModelName
    request: type[Message] | None = None
    response: type[Message] | None = None
    streaming: bool | None = None

    @classmethod
    def of(cls, model: ModelOrName, request: AnyRequest | None, response: type[Message] | None) -> Target:
        """The target of a call.

        Raises:
            InvalidName: `model` is no name of a model.
            InvalidModel: The class has no declared messages.
            TypeError: `request` is no request of the model, or the class of the response is missing.
        """
        if not isinstance(model, str):
            classes = messages_of(model)
            expected, response = classes[0], response or classes[1]
            if isinstance(request, Message) and not isinstance(request, expected):
                raise TypeError(f"{model.name} takes a {expected.__qualname__}, not {type(request).__qualname__}")
            name = model_name(model.name)
            return cls(name=name, request=expected, response=response, streaming=model.streaming)
        if isinstance(request, Message) and response is None:
            raise TypeError(
                f"the class of the response is missing: write ({model!r}, request, SomeResponse), "
                "or give the request as a dict to get a dict"
            )
        return cls(name=model_name(model), response=response)

    @property
    def accept(self) -> str:
        """The media type of its responses."""
        return JSON if self.response is None else PROTOBUF

    def encode(self, request: AnyRequest) -> tuple[bytes, str]:
        """The body of a request, and its media type."""
        if isinstance(request, Message):
            return request.SerializeToString(), PROTOBUF
        return request if isinstance(request, bytes) else msgspec.json.encode(request), JSON

    def decode(self, content: bytes, media_type: str) -> Any:
        """A response as it was accepted: a message, or JSON.

        Raises:
            UnexpectedReply: It is not what was asked for.
        """
        if self.response is None:
            return _json(content)
        if "encoding=delimited" in media_type:
            raise UnexpectedReply(f"call of {self.name}", "the model streams its response: use stream(), or chunks()")
        if media_type.partition(";")[0].strip() != PROTOBUF:
            raise UnexpectedReply(f"call of {self.name}", f"the response is {media_type or 'untyped'}, not protobuf")
        try:
            return self.response.FromString(content)
        except DecodeError as error:
            raise UnexpectedReply(
                f"call of {self.name}", f"its response is no {self.response.__qualname__}: {error}"
            ) from error

    def decode_json(self, content: bytes) -> Any:
        """A response, or a chunk, in its JSON form.

        Raises:
            UnexpectedReply: It is not the response of the model.
        """
        if self.response is None:
            return _json(content)
        try:
            return json_format.Parse(
                content, self.response(), ignore_unknown_fields=True, descriptor_pool=_pool(self.response)
            )
        except json_format.ParseError as error:
            raise UnexpectedReply(
                f"stream of {self.name}", f"a chunk is no {self.response.__qualname__}: {error}"
            ) from error


def json_line(request: AnyRequest) -> bytes:
    """A request as one line of JSON; its text has to be one already."""
    if isinstance(request, bytes):
        return request
    if isinstance(request, Message):
        return json_format.MessageToJson(request, indent=None, descriptor_pool=_pool(request)).encode()
    return msgspec.json.encode(request)


def _pool(message: Message | type[Message]) -> DescriptorPool:
    """Where the types of an `Any` are found: beside the message, as a generated package has a pool of its own."""
    return cast("DescriptorPool", message.DESCRIPTOR.file.pool)  # upb's own class has the same methods


def _json(content: bytes) -> Json:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise UnexpectedReply("reply", f"it is not JSON: {error}") from error
