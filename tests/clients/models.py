"""Six models over messages that generated code could stumble over; they give back what they get.

The messages are read from protos/ when this module is imported. `hub up tests.clients.models:Echo ...` runs them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from typing_extensions import override

import hub
from hub.contract.descriptors.pool import build_pool

_PROTOS = Path(__file__).parent / "protos"


def _messages() -> dict[str, Descriptor]:
    with tempfile.NamedTemporaryFile() as file:
        sources = [str(path) for path in _PROTOS.rglob("*.proto")]
        options = [f"-I{_PROTOS}", "--include_imports", f"--descriptor_set_out={file.name}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *sources], check=True)
        pool = build_pool(FileDescriptorSet.FromString(file.read()))
    names = ("Everything", "EverythingReply", "Tree")
    found = {name: pool.FindMessageTypeByName(f"shared.v1.{name}") for name in names}
    return found | {name: pool.FindMessageTypeByName(f"other.v1.{name}") for name in ("Item", "Task")}


MESSAGES = _messages()


class Returning(hub.Model[Message, Message]):
    """Parses the request as the response message, which is a message with the same fields or with none of them."""

    request = "Everything"
    response = "Everything"

    @override
    def get_request_format(self) -> Descriptor:
        return MESSAGES[self.request]

    @override
    def get_response_format(self) -> Descriptor:
        return MESSAGES[self.response]

    @override
    async def process_request(self, request: Message) -> Message:
        return self.reply(_bytes(request))

    def reply(self, body: bytes) -> Message:
        return GetMessageClass(MESSAGES[self.response]).FromString(body)


class Echo(Returning):
    """The same message both ways."""


class EchoInLowerCase(Returning):
    """Its name differs from that of `Echo` only in case, its reply is empty."""

    name = "echo"
    response = "Item"

    @override
    def reply(self, body: bytes) -> Message:
        return GetMessageClass(MESSAGES["Item"])(id=2**53 + 1, prices=[{"amount": float("nan"), "currency": "EUR"}])


class Wrap(Returning):
    """The shared message within another one."""

    response = "EverythingReply"

    @override
    def reply(self, body: bytes) -> Message:
        everything = GetMessageClass(MESSAGES["Everything"]).FromString(body)
        return GetMessageClass(MESSAGES["EverythingReply"])(echo=everything, history=[everything], note="wrapped")


class Grow(Returning):
    """A message that contains itself."""

    name = "my-model.v2"
    request = response = "Tree"


class For(Returning):
    """Its name is a word of Python, its reply has the short name of a component of the gateway's own."""

    name = "for"
    response = "Task"

    @override
    def reply(self, body: bytes) -> Message:
        return GetMessageClass(MESSAGES["Task"])(id="7", problem={"text": "none"})


class Count(hub.Model[Message, Message]):
    """Streams the message that the others share as often as its field `small` says."""

    @override
    def get_request_format(self) -> Descriptor:
        return MESSAGES["Everything"]

    @override
    def get_response_format(self) -> Descriptor:
        return MESSAGES["Everything"]

    @override
    async def process_request(self, request: Message) -> AsyncIterator[Message]:
        asked: Any = GetMessageClass(MESSAGES["Everything"]).FromString(_bytes(request))
        for number in range(asked.small):
            yield GetMessageClass(MESSAGES["Everything"])(small=number, text=asked.text)


def _bytes(request: Message | bytes) -> bytes:
    """Without type arguments that protoc generated, a model gets serialized requests."""
    return request if isinstance(request, bytes) else request.SerializeToString()
