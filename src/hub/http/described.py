"""What is true of every route of every server, said once in each of the descriptions (OpenAPI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.http.problems import PROBLEM_TYPE

PROBLEM_SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "description": "RFC 9457 problem details. Further members give the facts of the error.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable and machine-readable."},
    },
}
PROBLEM: Final[Mapping[str, object]] = {
    "description": "Any other error.",
    "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}

_REF: Final[Mapping[str, object]] = {"$ref": "#/components/responses/Problem"}
_METHODS: Final = ("get", "put", "post", "delete", "patch")
_REFUSALS: Final = ("400", "408", "421", "429", "431", "503", "default")
"""What the layers in front of the routes answer: a request that is malformed, late, for another host, one too many, of too
many headers, or that comes when the server is full; and `default`, which is everything else."""

_REFUSALS_OF_BODIES: Final = ("413", "415")


def refusals(*, body: bool) -> dict[str, object]:
    """The `responses` that every operation has; with `body` those too that are about the body of the request."""
    return dict.fromkeys(sorted((*_REFUSALS, *(_REFUSALS_OF_BODIES if body else ()))), _REF)


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Adds to each operation of an OpenAPI document, in place, the problems that every route may answer with.

    What an operation says of a status itself stays, as a problem if it is an error of no other form; but not the errors that
    Litestar's generator adds: hub answers none of that form. `HEAD` is left out, since it has no body to describe.
    """
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).setdefault("Problem", PROBLEM_SCHEMA)
    components.setdefault("responses", {}).setdefault("Problem", PROBLEM)
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in _METHODS:
                own = {
                    status: {**PROBLEM, **found} if status[0] in "45" and "$ref" not in found else found
                    for status, found in operation["responses"].items()
                    if not _of_litestar(found)
                }
                operation["responses"] = {**refusals(body="requestBody" in operation), **own}
    return document


def _of_litestar(response: Mapping[str, Any]) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return "status_code" in schema.get("properties", {})
