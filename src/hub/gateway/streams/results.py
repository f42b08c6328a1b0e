"""All chunks of a task that has succeeded in one reply: a JSON array, or serialized messages one after the other."""

from __future__ import annotations

from typing import Final

from litestar import Response

from hub.gateway.models.codec import Codec, CodecResolver
from hub.gateway.schemas import moment
from hub.gateway.streams.errors import ArrayTooLarge, IncompleteStream
from hub.gateway.streams.forms import delimited
from hub.gateway.tasks.errors import ContractUnavailable
from hub.gateway.tasks.results import message_json, message_reply, response_of
from hub.gateway.tasks.service import TaskService
from hub.http.media_types import PROTOBUF
from hub.ports.result_store import ChunkPosition
from hub.task import TaskRecord

ARRAY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of the chunks in one reply at most: a gateway has them in memory as a whole, as it has a response of `result_limit`."""

DELIMITED: Final = f"{PROTOBUF};encoding=delimited"
"""The media type of serialized messages with their lengths in front, with the parameter that Prometheus uses for that."""


async def outcome_reply(
    record: TaskRecord, tasks: TaskService, codecs: CodecResolver, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    """The response of a task as JSON or protobuf: its message, or all of its chunks.

    Raises:
        ArrayTooLarge: The chunks have more than `ARRAY_LIMIT` bytes in that form.
        IncompleteStream: Some of them are missing.
        HubError: As `message_reply` and `TaskService.chunks` say.
    """
    if record.outcome is None or record.outcome.chunks is None:
        return await message_reply(record, codecs, media_type, headers)
    response_of(record)  # raises if there is none
    codec = None if media_type == PROTOBUF else await codecs.resolve(record)
    if media_type != PROTOBUF and codec is None:
        raise ContractUnavailable
    content = await _all_chunks(record, tasks, codec)
    headers = {**headers, "Hub-Expires-At": moment(record.expires_at).isoformat()}
    return Response(content, media_type=DELIMITED if codec is None else media_type, headers=headers)


async def _all_chunks(record: TaskRecord, tasks: TaskService, codec: Codec | None) -> bytes:
    """The chunks as a JSON array, or without a codec delimited."""
    pieces: list[bytes] = []
    size = 0
    last = ChunkPosition(record.attempt, 0)
    while True:
        page = await tasks.chunks(record, last, beyond=None, seconds=0)
        if page is None or page.attempt != record.attempt or (not page.chunks and not page.complete):
            raise IncompleteStream(record.id, record.state, len(pieces), record.chunks)
        for chunk in page.chunks:
            if codec is None:
                pieces.append(delimited(chunk.body))
            else:
                pieces.append(await message_json(codec, record.id, record.state, chunk.body))
            size += len(pieces[-1]) + 1
            if size > ARRAY_LIMIT:
                raise ArrayTooLarge(record.id, record.state, ARRAY_LIMIT)
        last = page.last
        if page.complete:
            break
    if len(pieces) != record.chunks:
        raise IncompleteStream(record.id, record.state, len(pieces), record.chunks)
    return b"".join(pieces) if codec is None else b"[%b]" % b",".join(pieces)
