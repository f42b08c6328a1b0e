"""What code of a model raises beyond `Exception` fails its task, or its instance; it does not end the process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from hub.concurrency import forking
from hub.concurrency.exceptions import iterate_exceptions
from hub.model.errors import ModelExit
from hub.safe_text import full_name, text_of

_BUILTINS: Final = "builtins."


@contextmanager
def exits_as_errors(method: str, *, but: tuple[type[BaseException], ...] = ()) -> Generator[None]:
    """Raises `ModelExit` for what the block raises beyond `Exception`. The block calls a plain `method` of a model.

    A child that was forked off in the block does not leave it: see `hub.concurrency.forking.leave_child`.

    Args:
        method: Its name.
        but: What passes, since it is not the model that raises it.

    Raises:
        ModelExit: Instead of such an error.
    """
    began = forking.generation()
    try:
        yield
    except BaseException as error:
        if forking.generation() != began:
            forking.leave_child(error)
        if isinstance(error, (Exception, *but)):
            raise
        raise model_exit(method, error) from None  # noqa: ASYNC104 - nothing is awaited in the block
    if forking.generation() != began:
        forking.leave_child(None)


def model_exit(method: str, error: BaseException) -> ModelExit:
    """The error that stands for one beyond `Exception`; of a group with one error in it, for that.

    It has the traceback of the original, so that a log leads to the line in the model.
    """
    inner = list(iterate_exceptions(error))
    shown = inner[0] if len(inner) == 1 else error
    kind = full_name(type(shown)).removeprefix(_BUILTINS)
    return ModelExit(method, kind, text_of(lambda: str(shown))).with_traceback(shown.__traceback__)
