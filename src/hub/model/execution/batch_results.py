"""Checks what `process_batch` of a model returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeGuard

from hub.model.errors import WrongBatch
from hub.model.execution.exits import model_exit

METHOD: Final = "process_batch"


def checked(returned: object, expected: int, model: str) -> Sequence[object]:
    """What `process_batch` returned, if it has one element for each request.

    Raises:
        WrongBatch: It has not.
    """
    if not _is_list(returned):
        raise WrongBatch(model, f"a {type(returned).__qualname__!r} for {expected} requests")
    if len(returned) != expected:
        raise WrongBatch(model, f"{len(returned)} results for {expected} requests")
    return [model_exit(METHOD, each) if _is_exit(each) else each for each in returned]


def _is_list(returned: object) -> TypeGuard[Sequence[object]]:
    return isinstance(returned, Sequence) and not isinstance(returned, str | bytes)


def _is_exit(returned: object) -> TypeGuard[BaseException]:
    return isinstance(returned, BaseException) and not isinstance(returned, Exception)
