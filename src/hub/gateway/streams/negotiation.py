"""What a client wants of a streaming task: in which form, and from where on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from hub.gateway.errors import BadParameter
from hub.gateway.streams.forms import EventForm, LineForm, StreamForm
from hub.http.media_types import EVENT_STREAM, JSON, NDJSON, NDJSON_NAMES, PROTOBUF, PROTOBUF_NAMES
from hub.http.negotiation import Accept, NotAcceptable, json_or_protobuf, preferred_type
from hub.ports.result_store import ChunkPosition

FORMS: Final[Mapping[str, StreamForm]] = {EVENT_STREAM: EventForm(), NDJSON: LineForm()}
"""The forms in which chunks are sent as they come; JSON and protobuf are sent at the end."""

LAST_NUMBER: Final = 10**15 - 1
"""The highest number of a chunk in a `Last-Event-ID`: the place after all chunks of an attempt."""

_OFFERED: Final[Mapping[str, Collection[str]]] = {
    JSON: (JSON,),
    EVENT_STREAM: (EVENT_STREAM,),
    NDJSON: NDJSON_NAMES,
    PROTOBUF: PROTOBUF_NAMES,
}
_POSITION: Final = re.compile(r"(\d{1,15})-(?:(\d{1,15})|end)", re.ASCII)
_SHOWN: Final = 100


def stream_type(headers: Mapping[str, str]) -> str:
    """The media type for the chunks of a streaming task that `Accept` prefers; JSON when it prefers none.

    Raises:
        NotAcceptable: None is accepted.
    """
    what = f"the chunks come as {EVENT_STREAM}, {NDJSON}, {JSON} or {PROTOBUF}"
    return preferred_type(headers, _OFFERED, what)


def message_type_of_unary(headers: Mapping[str, str], model: str) -> str:
    """`JSON` or `PROTOBUF` for the one response message of a model that does not stream.

    Raises:
        NotAcceptable: Neither is accepted; if a stream is, says what to do instead.
    """
    try:
        return json_or_protobuf(headers)
    except NotAcceptable:
        accept = Accept(headers)
        if accept.quality(EVENT_STREAM) or accept.quality(*NDJSON_NAMES):
            raise NotAcceptable(
                f"Accept is {accept.header!r}, and {model!r} answers with one message, which comes as {JSON} or {PROTOBUF}; "
                f"to watch the task meanwhile, submit it and GET its URL with 'Accept: {EVENT_STREAM}'"
            ) from None
        raise


def resume_position(headers: Mapping[str, str]) -> ChunkPosition | None:
    """The place in `Last-Event-ID`: after the chunk that it names, or at the end of its attempt; `None` without one.

    Raises:
        BadParameter: It is none of the ids that streams of chunks have.
    """
    text = headers.get("last-event-id", "")
    if not text:
        return None
    found = _POSITION.fullmatch(text)
    if found is None:
        raise BadParameter(
            f"Last-Event-ID is {text[:_SHOWN]!r}; write the id of the last event that was received, such as 1-17 (the 17th chunk "
            "of the first attempt), or leave it out to begin at the first chunk"
        )
    attempt, number = found.groups()
    return ChunkPosition(int(attempt), LAST_NUMBER if number is None else int(number))
