"""Replies as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Final

from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct


def reply(kind: type[Struct] | None, description: str) -> ResponseSpec:
    """A reply without the random examples that Litestar makes up: the document is the same at each start."""
    return ResponseSpec(kind, description=description, generate_examples=False)


NOT_JSON: Final = reply(None, "The body is not declared as `application/json`.")

NOT_YOURS: Final = reply(None, "`not_your_instance`: the call does not carry the secret of the instance's login.")

NO_ROOM: Final = reply(
    None, "`registry_full`, when a bound leaves no room; or the server has no room for a connection."
)

NOT_MODIFIED: Final = reply(None, "Nothing has changed, for as long as `Prefer: wait=N` asked to wait.")

UNKNOWN_MODEL: Final = reply(None, "`unknown_model`: no instance of such a model has ever logged in.")

UNKNOWN_CONTRACT: Final = reply(None, "`unknown_model`, or `unknown_contract`: the model never had this one.")

INVALID: Final = reply(None, "`invalid_login`, `invalid_name` or `invalid_contract`: a value is none that hub can use.")

NAME_TAKEN: Final = reply(None, "`name_taken`: live instances hold the name with another contract.")

OUT_OF_REACH: Final = reply(None, "The directory is out of reach; or the server has no room for a connection.")
