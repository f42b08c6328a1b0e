"""Errors of a model that are not an `Exception`, such as `SystemExit`: they fail its task, and do not end the process."""

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
    """Raises `ModelExit` for an error of the block that is not an `Exception`. The block calls a plain `method` of a model.

    A child process that was forked in the block does not leave it: see `hub.concurrency.forking.leave_child`.

    Args:
        method: Name of the method.
        but: Classes of errors that pass, because they are not raised by the model.

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
    """The `ModelExit` for an error, or for the only error in a group. It has the traceback of the original.

    Args:
        method: Name of the method.
        error: The error, not an `Exception`.
    """
    inner = list(iterate_exceptions(error))
    shown = inner[0] if len(inner) == 1 else error
    kind = full_name(type(shown)).removeprefix(_BUILTINS)
    return ModelExit(method, kind, text_of(lambda: str(shown))).with_traceback(shown.__traceback__)
