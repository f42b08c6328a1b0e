"""The part of the API description that one model contributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from hub.gateway.catalog import ServedModel
from hub.gateway.ndjson import NDJSON
from hub.gateway.negotiation import JSON, PROTOBUF

_BINARY: Final = {"type": "string", "format": "binary"}
_PROBLEMS: Final = {
    "422": "Invalid",
    "429": "Busy",
    "503": "Busy",
    "default": "Problem",
}
_BATCH_PARAMETERS: Final = ("HubTimeout", "HubResultTtl", "IdempotencyKeyOfLines")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Encoded once for each contract of a model: the OpenAPI members that it adds, by their keys."""

    tag: msgspec.Raw
    paths: dict[str, msgspec.Raw]
    schemas: dict[str, msgspec.Raw]


def describe(model: ServedModel) -> ModelDescription:
    """The description of one model; component names start with its name, so that no two models clash."""
    name, contract = model.name, model.known.contract
    schemas = model.codec.schemas(name_prefix=f"{name}.", ref_prefix="#/components/schemas/")
    reply = _responses(f"The response message, `{contract.response}`.", schemas.response, {"Hub-Task": "HubTask"})
    waited = _json_response("Waited for with `Prefer: wait`: the task with its outcome.", "Task")
    accepted = _json_response("Accepted: the task has an id and will end in an outcome.", "Accepted")
    return ModelDescription(
        tag=_raw({"name": name, "description": f"`{contract.request}` → `{contract.response}`"}),
        paths={
            f"/v1/models/{name}": _raw(
                {
                    "post": {
                        **_operation(model, "call", f"Call {name} and wait for its response", schemas.request),
                        "description": "The reply is the response message itself. When it is not ready in time the "
                        "reply is a 504 that names the task, which goes on.",
                        "responses": {
                            "200": reply,
                            "502": {"$ref": "#/components/responses/TaskProblem"},
                            "504": {"$ref": "#/components/responses/TaskProblem"},
                            **_problems(),
                        },
                    }
                }
            ),
            f"/v1/models/{name}/tasks": _raw(
                {
                    "post": {
                        **_operation(model, "submit", f"Give {name} a task", schemas.request),
                        "description": "Answers as soon as the task is safe on the queue, or with "
                        "`Prefer: wait=N` when it has ended.",
                        "responses": {"200": waited, "202": accepted, **_problems()},
                    }
                }
            ),
            f"/v1/models/{name}/batches": _raw({"post": _batch(model)}),
        },
        schemas={key: _raw(schema) for key, schema in schemas.components.items()},
    )


def _operation(model: ServedModel, verb: str, summary: str, request: object) -> dict[str, object]:
    document = {"schema": request, "example": model.example}
    return {
        "tags": [model.name],
        "operationId": f"{verb}_{model.name}",
        "summary": summary,
        "parameters": [{"$ref": "#/components/parameters/Prefer"}],
        "requestBody": {"required": True, "content": {JSON: document, PROTOBUF: {"schema": _BINARY}}},
    }


def _batch(model: ServedModel) -> dict[str, object]:
    example = msgspec.json.encode(model.example).decode()
    return {
        "tags": [model.name],
        "operationId": f"submit_batch_{model.name}",
        "summary": f"Give {model.name} many tasks",
        "description": f"One `{model.known.contract.request}` as JSON in each line, of any number of lines. Each is "
        "answered with one line, in the same order and while the batch still arrives: read while you write. A line that is "
        "refused does not disturb the others, so the status is 200 whatever becomes of the lines.",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _BATCH_PARAMETERS],
        "requestBody": {
            "required": True,
            "content": {NDJSON: {"schema": {"type": "string"}, "example": f"{example}\n{example}\n"}},
        },
        "responses": {"200": {"$ref": "#/components/responses/BatchAnswers"}, **_problems()},
    }


def _responses(description: str, schema: object, headers: dict[str, str]) -> dict[str, object]:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{component}"} for name, component in headers.items()},
        "content": {JSON: {"schema": schema}, PROTOBUF: {"schema": _BINARY}},
    }


def _json_response(description: str, schema: str) -> dict[str, object]:
    return {
        "description": description,
        "headers": {"Location": {"$ref": "#/components/headers/Location"}},
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _problems() -> dict[str, object]:
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in _PROBLEMS.items()}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
