"""JSON to protobuf and back for one message type, compiled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.message_classes import classes_of
from hub.contract.errors import InvalidDocument, MalformedJson, NotJsonRepresentable, Problem
from hub.contract.protojson import json_text
from hub.contract.protojson.encoding import encoded, encoded_in_pieces
from hub.contract.protojson.errors import MAX_PROBLEMS, TOO_DEEP, JsonPath, ParseError, problems_of
from hub.contract.protojson.malformed import MARK
from hub.contract.protojson.parser import MessageParsers
from hub.contract.protojson.serializer import MessageSerializers
from hub.contract.protojson.value_parser import ParseStats
from hub.errors import Undecodable

_BIG: Final = 4096
"""Bytes of a message from which on the document is encoded in pieces."""


@final
class Transcoder:
    """Turns ProtoJSON documents into one message and back.

    It follows https://protobuf.dev/programming-guides/json/; `docs/protojson.md` lists where it is stricter than
    `google.protobuf.json_format`. It may be used from several threads.

    Args:
        descriptor: The message; from generated code or from any pool.
        types: The messages that an `Any` may hold, by full name; by default those of the files that `descriptor`
            refers to.
    """

    def __init__(self, descriptor: Descriptor, types: Mapping[str, Descriptor] | None = None) -> None:
        self.descriptor: Final = descriptor
        known = messages_of(files_of([descriptor])) if types is None else types
        self._classes: Final = classes_of([descriptor, *known.values()])  # kept, so that they are made once
        self._class: Final = GetMessageClass(descriptor)
        self._read: Final = MessageParsers(known, trusting=True).of(descriptor)
        self._read_exactly: Final = MessageParsers(known, trusting=False).of(descriptor)
        self._write: Final = MessageSerializers(known, including_defaults=False).of(descriptor)
        self._write_with_defaults: Final = MessageSerializers(known, including_defaults=True).of(descriptor)

    def parse_json(self, text: bytes) -> Message:
        """Reads a JSON document into a new message of the descriptor's own class.

        A byte order mark at its start is ignored (RFC 8259 section 8.1).

        Raises:
            MalformedJson: `text` is not JSON.
            InvalidDocument: It is not the message; all bad fields are listed, up to a limit.
        """
        text = text.removeprefix(MARK)
        try:
            return self._parsed(text)
        except RecursionError as error:
            # The parser took it, and what came after it had less of the stack left.
            raise MalformedJson(json_text.TOO_DEEP, 1, 1) from error

    def _parsed(self, text: bytes) -> Message:
        document = json_text.parse(text)
        tally = ParseStats()
        found: Sequence[tuple[JsonPath, str]] | None = None
        try:
            value = self._read(document, 1, tally)
            # Before anything is built: messages may take many times as much memory as the document.
            if not json_text.has_duplicates(text, tally.names, tally.colons):
                tally.finish()
                return self._build(value)
        except ParseError as refusal:
            found = refusal.found
        except ValueError:
            pass
        if (
            found is None or len(found) < MAX_PROBLEMS
        ):  # else another pass over a document that may be big tells nothing new
            found = self._problems(document)
        # The search for names given twice is a second parser, which can have the memory that this one took.
        del document, tally
        value = None
        raise self._invalid(text, list(found))

    def decode_json(self, text: bytes) -> bytes:
        """Reads a JSON document and serializes the message, deterministically. Raises what `parse_json` does."""
        return self._class.SerializeToString(self.parse_json(text), deterministic=True)

    def encode_json(self, message: Message | bytes, *, including_defaults: bool = False) -> bytes:
        """Writes a message, or its serialized form, as compact JSON in UTF-8.

        Args:
            message: Of the descriptor's full name; it may come from another pool.
            including_defaults: Also write the fields that cannot tell "unset" from their default when they have it,
                as `always_print_fields_with_no_presence` of `json_format` does.

        Raises:
            Undecodable: `message` is bytes of something else.
            NotJsonRepresentable: The message has a value that JSON cannot express.
        """
        own = message if isinstance(message, self._class) else self._parse(message)
        try:
            document = (self._write_with_defaults if including_defaults else self._write)(own)
            big = isinstance(message, bytes) and len(message) > _BIG
            return encoded_in_pieces(document) if big else encoded(document)
        except ParseError as refusal:
            raise NotJsonRepresentable(self.descriptor.full_name, problems_of(refusal.found)[0]) from refusal
        except RecursionError as error:  # each Any within an Any is bytes to protobuf, which sets no limit to them
            raise NotJsonRepresentable(self.descriptor.full_name, Problem("", TOO_DEEP)) from error

    def _build(self, value: dict[str, object] | Message) -> Message:
        return self._class(**value) if isinstance(value, dict) else value

    def _problems(self, document: json_text.JsonValue) -> Sequence[tuple[JsonPath, str]]:
        """What is bad in a document, integers that the constructor refuses included; without names given twice."""
        try:
            self._read_exactly(document, 1, ParseStats())
        except ParseError as refusal:
            return refusal.found
        return ()

    def _invalid(self, text: bytes, found: list[tuple[JsonPath, str]]) -> InvalidDocument:
        """The error for a document of which something is bad, with everything that is, up to `MAX_PROBLEMS`."""
        searched = len(found) < MAX_PROBLEMS and json_text.searchable(text)
        if searched:
            found += [(place, "given more than once") for place in json_text.duplicates(text)]
        # At least one: a text that is nested too deep for the search, or has too much before the place, names none.
        found = found or [((), "the name of a member is given more than once in an object")]
        more = not searched or len(found) >= MAX_PROBLEMS
        return InvalidDocument(self.descriptor.full_name, problems_of(found), more=more)

    def _parse(self, message: Message | bytes) -> Message:
        full_name = self.descriptor.full_name
        if isinstance(message, Message):
            # Of the class: a field may be called DESCRIPTOR too.
            given = type(message).DESCRIPTOR.full_name
            if given != full_name:
                raise Undecodable(full_name, f"it is a {given}")
            message = type(message).SerializePartialToString(message)
        try:
            return self._class.FromString(message)
        except DecodeError as error:
            raise Undecodable(full_name, str(error)) from error
