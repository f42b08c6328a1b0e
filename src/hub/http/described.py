"""What is true of every route of every server, said once in each of the descriptions (OpenAPI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.http.problem_document import PROBLEM_TYPE

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

SECURITY: Final[Mapping[str, Mapping[str, str]]] = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
"""How a client shows its credential to a server that asks for one; see `hub.http.guard`."""

OPEN: Final = "/health/"
"""How paths begin that never ask for a credential."""

_REF: Final[Mapping[str, object]] = {"$ref": "#/components/responses/Problem"}
_METHODS: Final = ("get", "head", "put", "post", "delete", "patch")
_SAFE: Final = ("get", "head")
_REFUSALS: Final = ("400", "408", "421", "429", "431", "503", "default")
"""What the layers in front of the routes answer: a request that is malformed, late, for another host, one too many, of too
many headers, or that comes when the server is full; and `default`, which is everything else."""

_REFUSALS_OF_GUARDED: Final = ("401",)
_REFUSALS_OF_CHANGES: Final = ("403",)
"""A web page of another origin asks for something that is not safe (RFC 9110 section 9.2.1)."""

_REFUSALS_OF_BODIES: Final = ("413", "415")


def refusals(method: str, *, body: bool, guarded: bool = True) -> dict[str, object]:
    """The `responses` that every operation has.

    Args:
        method: In lower case. Replies to `head` have no content, and those to unsafe methods may refuse another origin.
        body: Whether the request has a body.
        guarded: Whether the operation may ask for a credential.
    """
    statuses = {
        *_REFUSALS,
        *(_REFUSALS_OF_GUARDED if guarded else ()),
        *(_REFUSALS_OF_CHANGES if method not in _SAFE else ()),
        *(_REFUSALS_OF_BODIES if body else ()),
    }
    return dict.fromkeys(sorted(statuses), {"description": PROBLEM["description"]} if method == "head" else _REF)


def complete(document: dict[str, Any], *, guarded: bool = False) -> dict[str, Any]:
    """Adds to each operation of an OpenAPI document, in place, the problems that every route may answer with.

    What an operation says of a status itself stays, as a problem if it is an error of no other form; but not the errors that
    Litestar's generator adds: hub answers none of that form.

    Args:
        document: The description of one server.
        guarded: Whether the server asks for a credential; the description then says so, for all paths but those of `OPEN`.
    """
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).setdefault("Problem", PROBLEM_SCHEMA)
    components.setdefault("responses", {}).setdefault("Problem", PROBLEM)
    if guarded:
        components["securitySchemes"] = SECURITY
        document["security"] = [{name: []} for name in SECURITY]
    for path, item in document["paths"].items():
        is_open = path.startswith(OPEN)
        for method, operation in item.items():
            if method not in _METHODS:
                continue
            own = {
                status: {**PROBLEM, **found} if _is_bare_error(method, status, found) else found
                for status, found in operation["responses"].items()
                if not _of_litestar(found)
            }
            common = refusals(method, body="requestBody" in operation, guarded=not is_open)
            operation["responses"] = {**common, **own}
            if is_open:
                operation["security"] = []
    return document


def _is_bare_error(method: str, status: str, response: Mapping[str, Any]) -> bool:
    return method != "head" and status[0] in "45" and "$ref" not in response


def _of_litestar(response: Mapping[str, Any]) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return "status_code" in schema.get("properties", {})
