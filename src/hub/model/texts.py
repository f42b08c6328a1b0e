"""What an error says of itself, in a form that fits into an outcome and through a pipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

TEXT_LIMIT: Final = 16_384
"""Characters of an error message or traceback that are kept."""


def text_of(write: Callable[[], str]) -> str:
    """What `write` returns, shortened to `TEXT_LIMIT` and without lone surrogates; it may be foreign code that fails."""
    try:
        text = write()
    except BaseException as broken:  # noqa: ASYNC103, BLE001 - a __str__ of the model's; its task still needs an outcome
        text = f"(the error could not be shown: {type(broken).__qualname__})"  # noqa: ASYNC104 - nothing is awaited
    text = text.encode(errors="replace").decode()  # protobuf strings hold no lone surrogates
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " ..."


def full_name(kind: type) -> str:
    """The name of a class that tells it from all others: `builtins.ValueError`."""
    return f"{kind.__module__}.{kind.__qualname__}"
