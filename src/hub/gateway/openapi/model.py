"""The part of the API description about one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

import msgspec

from hub.gateway.models.catalog import ServedModel
from hub.http.described import refusals
from hub.http.media_types import EVENT_STREAM, JSON, NDJSON, PROTOBUF

AS_PROTOBUF: Final = "x-hub-protobuf"
"""A member beside the media types of a body: the serialized message. Code generators handle two media types badly."""

AS_STREAM: Final = "x-hub-streams"
"""A member beside `content` with the forms of a reply that is a stream. The page of the API shows them with the others."""

_PROBLEMS: Final = {
    "404": "Problem",
    "422": "Invalid",
    "429": "Busy",
    "503": "Busy",
}
_CALLED: Final = (
    "The reply is the response message itself. When it is not ready in time the reply is a 504 `call_timeout` that names the "
    "task, which goes on. When the task ends without a response the reply is a 502 `task_failed` (failed or dead), a 504 "
    "`task_expired` or a 409 `task_cancelled`. Closing the connection cancels the task, unless it has an `Idempotency-Key`."
)
_STREAMED: Final = (
    "The model answers with a stream of messages. With `Accept: text/event-stream` or `application/x-ndjson` they are sent as "
    "they come, until the task has ended; how it ended is in the last event or line. As JSON they are sent as one array "
    "when the task has succeeded. What follows is about JSON. "
)
_PARAMETERS: Final = ("Prefer", "HubTimeout", "HubResultTtl", "IdempotencyKey", "Traceparent", "Tracestate")
_STREAM_PARAMETERS: Final = (*_PARAMETERS, "LastChunk")
_BATCH_PARAMETERS: Final = ("HubTimeout", "HubResultTtl", "IdempotencyKeyOfLines", "Traceparent", "Tracestate")
_REPLY_HEADERS: Final = {
    "Location": "Location",
    "Hub-Task": "HubTask",
    "Hub-Expires-At": "HubExpiresAt",
    "Idempotent-Replayed": "IdempotentReplayed",
    "Preference-Applied": "PreferenceApplied",
}
_TASK_HEADERS: Final = {
    "Location": "Location",
    "Hub-Task": "HubTask",
    "Idempotent-Replayed": "IdempotentReplayed",
}


@dataclass(frozen=True)
class ModelDescription:
    """The OpenAPI members that a model adds, encoded once for each contract.

    Attributes:
        tag: One element of `tags`, with a comma behind it.
        paths: Members of `paths`, with a comma behind each.
        schemas: Members of `components.schemas`, by their names.
        version: A digest of all of it.
    """

    tag: bytes
    paths: bytes
    schemas: Mapping[str, msgspec.Raw]

    @cached_property
    def members(self) -> Mapping[str, bytes]:
        """The members of `components.schemas` by their names, each with a comma in front."""
        return {name: encoded_member(name, schema) for name, schema in self.schemas.items()}

    @cached_property
    def version(self) -> bytes:
        return sha256(b"".join([self.tag, self.paths, *self.members.values()])).digest()


def model_paths(model: ServedModel, suffix: str) -> ModelDescription:
    """The description of one model; `suffix` ends the id of each of its operations."""
    name, contract = model.name, model.known.contract
    schemas = model.codec.schemas(ref_prefix="#/components/schemas/", comments=model.known.comments)
    comment = dict(model.known.comments).get(contract.request, "")
    example = model.example
    reply = (_stream if contract.streaming else _response)(contract.response, schemas.response)
    with_outcome = _json_response("With `Prefer: wait`: the task with its outcome.", "Task", "Preference-Applied")
    accepted = _json_response("Accepted: the task has an id and will end in an outcome.", "Accepted")
    paths = {
        f"/v1/models/{name}": _raw(
            {
                "get": _reading(name, f"read{suffix}"),
                "post": {
                    **_operation(
                        model, f"call{suffix}", f"Call {name} and wait for its response", schemas.request, example
                    ),
                    **({"parameters": _parameters(model, _STREAM_PARAMETERS)} if contract.streaming else {}),
                    "description": _STREAMED + _CALLED if contract.streaming else _CALLED,
                    "responses": {
                        "200": reply,
                        **({"406": {"$ref": "#/components/responses/TaskProblem"}} if contract.streaming else {}),
                        "409": {"$ref": "#/components/responses/CallConflict"},
                        "502": {"$ref": "#/components/responses/TaskProblem"},
                        "504": {"$ref": "#/components/responses/TaskProblem"},
                        **_problems(),
                    },
                },
            }
        ),
        f"/v1/models/{name}/tasks": _raw(
            {
                "post": {
                    **_operation(model, f"submit{suffix}", f"Give {name} a task", schemas.request, example),
                    "description": "The reply comes as soon as the task is on the queue, or with "
                    "`Prefer: wait=N` when it has ended.",
                    "responses": {
                        "200": with_outcome,
                        "202": accepted,
                        "409": {"$ref": "#/components/responses/Conflict"},
                        **_problems(),
                    },
                }
            }
        ),
        f"/v1/models/{name}/batches": _raw({"post": _batch(model, f"batch{suffix}", example)}),
    }
    return ModelDescription(
        tag=bytes(
            _raw({"name": name, "description": f"`{contract.request}` → `{contract.response}`\n\n{comment}".strip()})
        )
        + b",",
        paths=msgspec.json.encode(paths)[1:-1] + b",",
        schemas={key: _raw(schema) for key, schema in schemas.components.items()},
    )


def _reading(name: str, operation_id: str) -> dict[str, object]:
    """`showModel` of one model: OpenAPI matches a path without parameters first, so it has to have all of its methods."""
    return {
        "tags": [name],
        "operationId": operation_id,
        "summary": f"Show {name} and its contract",
        "parameters": [
            {"$ref": "#/components/parameters/IfNoneMatch"},
            {"$ref": "#/components/parameters/PreferWaitForChange"},
        ],
        "responses": {
            **refusals("get", body=False),
            "200": {
                "description": "The model.",
                "headers": {"ETag": {"$ref": "#/components/headers/ETag"}},
                "content": {JSON: {"schema": {"$ref": "#/components/schemas/ServedModel"}}},
            },
            "304": {"description": "Nothing has changed since `If-None-Match`."},
            "404": {"$ref": "#/components/responses/Problem"},
            "503": {"$ref": "#/components/responses/Busy"},
        },
    }


def _operation(
    model: ServedModel, operation_id: str, summary: str, request: object, example: object
) -> dict[str, object]:
    document = {"schema": request}
    if example is not None:
        document["example"] = example
    message = model.known.contract.request
    return {
        "tags": [model.name],
        "operationId": operation_id,
        "summary": summary,
        "parameters": _parameters(model, _PARAMETERS),
        "requestBody": {
            "description": f"The request message, `{message}`, as JSON; or serialized, with `Content-Type: {PROTOBUF}`.",
            "required": True,
            "content": {JSON: document},
            AS_PROTOBUF: _as_protobuf(message),
        },
    }


def _batch(model: ServedModel, operation_id: str, example: object) -> dict[str, object]:
    line = msgspec.json.encode(example).decode()
    shown = {} if example is None else {"example": f"{line}\n{line}\n"}
    return {
        "tags": [model.name],
        "operationId": operation_id,
        "summary": f"Give {model.name} many tasks",
        "description": f"One `{model.known.contract.request}` as JSON in each line, of any number of lines. Each is "
        "answered with one line, in the same order and while the batch still arrives: read while you write. A line that is "
        "refused does not affect the others, so the status is 200 whatever the lines come to.",
        "parameters": _parameters(model, _BATCH_PARAMETERS),
        "requestBody": {
            "required": True,
            "content": {NDJSON: {"schema": {"type": "string", "format": "binary"}, **shown}},
        },
        "responses": {"200": {"$ref": "#/components/responses/BatchAnswers"}, **_problems()},
    }


def _response(message: str, schema: object) -> dict[str, object]:
    return {
        "description": f"The response message, `{message}`, as JSON; or serialized, with `Accept: {PROTOBUF}`.",
        "headers": _headers(_REPLY_HEADERS),
        "content": {JSON: {"schema": schema}},
        AS_PROTOBUF: _as_protobuf(message),
    }


def _stream(message: str, schema: object) -> dict[str, object]:
    events = {
        "type": "string",
        "format": "binary",
        "description": f"Server-sent events as ChunkEvents describes; the data of `chunk` is a `{message}`.",
        "contentSchema": schema,
    }
    lines = {
        "type": "string",
        "format": "binary",
        "description": f"Lines of JSON as ChunkLine describes; each `chunk` is a `{message}`.",
        "contentSchema": {
            "allOf": [{"$ref": "#/components/schemas/ChunkLine"}, {"type": "object", "properties": {"chunk": schema}}]
        },
    }
    return {
        "description": f"The response messages, each a `{message}`: as events or lines, as one JSON array, or serialized with "
        f"their lengths in front, with `Accept: {PROTOBUF}`.",
        "headers": _headers(_REPLY_HEADERS),
        "content": {JSON: {"schema": {"type": "array", "items": schema}}},
        AS_STREAM: {EVENT_STREAM: {"schema": events}, NDJSON: {"schema": lines}},
        AS_PROTOBUF: {**_as_protobuf(message), "encoding": "delimited"},
    }


def _as_protobuf(message: str) -> dict[str, str]:
    return {"mediaType": PROTOBUF, "message": message}


def _json_response(description: str, schema: str, *more_headers: str) -> dict[str, object]:
    return {
        "description": description,
        "headers": _headers({**_TASK_HEADERS, **{name: _REPLY_HEADERS[name] for name in more_headers}}),
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _parameters(model: ServedModel, components: Sequence[str]) -> list[object]:
    longest = model.known.limits.max_timeout
    own: dict[str, object] = {}
    if longest is not None:
        own["HubTimeout"] = {
            "name": "Hub-Timeout",
            "in": "header",
            "description": f"Seconds from accepting a task to its deadline; {model.name} gives {longest:g} at most.",
            "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": longest},
        }
    return [own.get(component, {"$ref": f"#/components/parameters/{component}"}) for component in components]


def _headers(components: Mapping[str, str]) -> dict[str, object]:
    return {name: {"$ref": f"#/components/headers/{component}"} for name, component in components.items()}


def _problems() -> dict[str, object]:
    own = {status: {"$ref": f"#/components/responses/{name}"} for status, name in _PROBLEMS.items()}
    return {**refusals("post", body=True), **own}


def encoded_member(name: str, value: msgspec.Raw) -> bytes:
    """A member of an object, with a comma in front."""
    return b",%s:%s" % (msgspec.json.encode(name), bytes(value))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
