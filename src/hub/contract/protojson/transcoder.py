"""JSON to protobuf and back for one message type, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Final, final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.pool import message_classes
from hub.contract.errors import (
    MAX_PROBLEMS,
    BrokenRules,
    InvalidDocument,
    JsonPath,
    MalformedJson,
    NotJsonRepresentable,
    Problem,
)
from hub.contract.protojson import json_text
from hub.contract.protojson.conversion import TOO_DEEP, ConversionError, JsonValue, ParseStats, ValueParser, problems_of
from hub.contract.protojson.encoding import encode, encode_in_chunks
from hub.contract.protojson.generated.typed_parser import UNREAD, TypedParser
from hub.contract.protojson.malformed import MARK
from hub.contract.protojson.parser import MessageParsers
from hub.contract.protojson.scalar_serializer import Serializer
from hub.contract.protojson.serializer import MessageSerializers
from hub.contract.rules.message_check import MessageCheck, path_in_document
from hub.errors import Undecodable

_USUAL_PATTERN: Final = 50
"""Instructions of the patterns of a message that matter as little as the rest of reading it."""

_BIG: Final = 4096
"""Bytes of a message from which on the document is encoded in chunks."""


@final
class Transcoder:
    """Turns ProtoJSON documents into one message and back.

    It follows https://protobuf.dev/programming-guides/json/; `docs/protojson.md` lists where it is stricter than
    `google.protobuf.json_format`. It may be used from several threads.

    Args:
        descriptor: The message; from generated code or from any pool.
        types: The messages that an `Any` may hold, by full name; by default those of the files that `descriptor`
            refers to.
        rules: The check of the messages that are read from JSON; `None` if the message has no rules, or they are not
            to be checked.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        types: Mapping[str, Descriptor] | None = None,
        *,
        rules: MessageCheck | None = None,
    ) -> None:
        self.descriptor: Final = descriptor
        self._rules: Final = rules
        known = messages_of(files_of([descriptor])) if types is None else types
        self._classes: Final = message_classes([descriptor, *known.values()])  # referenced, so that they are made once
        self._class: Final = GetMessageClass(descriptor)
        self._parsers: Final = MessageParsers(known, validate=False)
        self._parse_fast: Final = self._parsers.compile(descriptor)
        self._types: Final = known

    def parse_json(self, text: bytes) -> Message:
        """Reads a JSON document into a new message of the descriptor's own class.

        A byte order mark at its start is ignored (RFC 8259 section 8.1).

        Raises:
            MalformedJson: `text` is not JSON.
            InvalidDocument: The document is not the message, or breaks its rules (`BrokenRules`); all invalid fields are
                listed, up to a limit.
        """
        try:
            message = self._parse_typed(text)
        except UNREAD:
            return self._parse_other(text)
        if self._rules is not None:
            self._check_rules(self._rules, message, None)
        return message

    def _parse_other(self, text: bytes) -> Message:
        try:
            return self._parse_any(text.removeprefix(MARK))
        except RecursionError as error:
            # The JSON parser succeeded, but the parser of the message had less of the stack left.
            raise MalformedJson(json_text.TOO_DEEP, 1, 1) from error

    @cached_property
    def _parse_typed(self) -> Callable[[bytes], Message]:
        return self._typed.read

    @cached_property
    def _to_bytes(self) -> Callable[[Message], bytes]:
        to_bytes = self._class.SerializeToString
        return partial(to_bytes, deterministic=True) if self._typed.has_maps else to_bytes

    # The following are compiled when they are used first: most messages are read only, or written in one form only.
    @cached_property
    def _typed(self) -> TypedParser:
        return TypedParser(self.descriptor, self._parsers.field_parser)

    @cached_property
    def _parse_exactly(self) -> ValueParser:
        return MessageParsers(self._types, validate=True).compile(self.descriptor)

    @cached_property
    def _serialize(self) -> Serializer:
        return MessageSerializers(self._types, including_defaults=False).compile(self.descriptor)

    @cached_property
    def _serialize_with_defaults(self) -> Serializer:
        return MessageSerializers(self._types, including_defaults=True).compile(self.descriptor)

    def _parse_any(self, text: bytes) -> Message:
        """Reads every document that is the message, however it is written, and finds the errors of all others."""
        document = json_text.parse(text)
        stats = ParseStats()
        errors: Sequence[tuple[JsonPath, str]] | None = None
        try:
            value = self._parse_fast(document, 1, stats)
            # First of all: the messages that are built next may take many times as much memory as the document.
            if not json_text.has_duplicates(text, stats.names, stats.colons):
                stats.fill()
                message = self._build(value)
                if self._rules is not None:
                    self._check_rules(self._rules, message, document)
                return message
        except ConversionError as error:
            errors = error.errors
        except ValueError:
            pass
        if errors is None or len(errors) < MAX_PROBLEMS:  # at the limit a second pass would add nothing
            errors = self._validation_errors(document)
        # The search for duplicate names is a second parser, so the memory of the first is released before.
        del document, stats
        value = None
        raise self._invalid(text, list(errors))

    def decode_json(self, text: bytes) -> bytes:
        """Reads a JSON document and serializes the message, deterministically. Raises what `parse_json` does."""
        if self._rules is not None:
            return self._to_bytes(self.parse_json(text))
        try:
            return self._to_bytes(self._parse_typed(text))  # one call less for most documents
        except UNREAD:
            return self._to_bytes(self._parse_other(text))

    def encode_json(self, message: Message | bytes, *, including_defaults: bool = False) -> bytes:
        """Writes a message, or its serialized form, as compact JSON in UTF-8.

        Args:
            message: Its type has the full name of the descriptor; it may come from another pool.
            including_defaults: Also write the fields that cannot tell "unset" from their default when they have it,
                as `always_print_fields_with_no_presence` of `json_format` does.

        Raises:
            Undecodable: `message` is bytes of something else.
            NotJsonRepresentable: The message has a value that JSON cannot express.
        """
        serialize = self._serialize_with_defaults if including_defaults else self._serialize
        try:
            # The message has no name here, so that it goes before the text comes: a copy less of a big one.
            document = serialize(self._read(message) if type(message) is bytes else self._own(message))
            big = isinstance(message, bytes) and len(message) > _BIG
            return encode_in_chunks(document) if big else encode(document)
        except ConversionError as error:
            raise NotJsonRepresentable(self.descriptor.full_name, problems_of(error.errors)[0]) from error
        except RecursionError as error:  # an Any within an Any is bytes for protobuf, which does not limit their depth
            raise NotJsonRepresentable(self.descriptor.full_name, Problem("", TOO_DEEP)) from error

    @property
    def has_rules(self) -> bool:
        """Whether messages are checked."""
        return self._rules is not None

    @property
    def weight(self) -> int:
        """How many times as long reading a byte may take as without patterns among the rules; 1 without."""
        return 1 if self._rules is None else 1 + self._rules.instructions // _USUAL_PATTERN

    def check(self, message: Message) -> None:
        """Checks the rules of a message of the descriptor's own class.

        Raises:
            BrokenRules: It breaks some; all are listed, up to a limit.
        """
        if self._rules is not None:
            self._check_rules(self._rules, message, None)

    def _check_rules(self, rules: MessageCheck, message: Message, document: JsonValue) -> None:
        errors = rules.violations(message)
        if errors:
            found = problems_of((path_in_document(path, document), text) for path, text in errors)
            raise BrokenRules(self.descriptor.full_name, found, more=len(errors) >= MAX_PROBLEMS)

    def _build(self, value: dict[str, object] | Message) -> Message:
        return self._class(**value) if isinstance(value, dict) else value

    def _validation_errors(self, document: JsonValue) -> Sequence[tuple[JsonPath, str]]:
        """All errors of a document but duplicate names, with the integers that the constructor refuses."""
        try:
            self._parse_exactly(document, 1, ParseStats())
        except ConversionError as error:
            return error.errors
        return ()

    def _invalid(self, text: bytes, errors: list[tuple[JsonPath, str]]) -> InvalidDocument:
        """The exception for an invalid document, with up to `MAX_PROBLEMS` errors, duplicate names included."""
        searched = len(errors) < MAX_PROBLEMS and json_text.is_searchable(text)
        if searched:
            errors += [(path, "given more than once") for path in json_text.duplicates(text)]
        # The search finds none in a text that is nested too deep, or has too many objects before the duplicate.
        errors = errors or [((), "the name of a member is given more than once in an object")]
        more = not searched or len(errors) >= MAX_PROBLEMS
        return InvalidDocument(self.descriptor.full_name, problems_of(errors), more=more)

    def _own(self, message: Message | bytes) -> Message:
        """`message` as an instance of the descriptor's own class."""
        if isinstance(message, self._class):
            return message
        if isinstance(message, Message):
            # Read from the class, because a field may be called DESCRIPTOR too.
            given = type(message).DESCRIPTOR.full_name
            if given != self.descriptor.full_name:
                raise Undecodable(self.descriptor.full_name, f"it is a {given}")
            message = type(message).SerializePartialToString(message)
        return self._read(message)

    def _read(self, body: bytes) -> Message:
        try:
            return self._class.FromString(body)
        except DecodeError as error:
            raise Undecodable(self.descriptor.full_name, str(error)) from error
