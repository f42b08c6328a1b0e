"""Errors out of the groups that task groups put around them.

The problem: a task group raises an `ExceptionGroup`, even around a single error. Its caller wants to write
`except ConnectionLost`, and a log or an exit code needs the one error that caused the end. `except*` is right where several
kinds of errors are handled differently; at the edge of a component there is one error to raise.

    with collapse_exception_group():
        async with create_task_group() as tg:
            tg.start_soon(read)
            tg.start_soon(write)   # both lose their connection: one ConnectionLost leaves the block

Cancellation: a group that holds a cancellation stays a group, so that the event loop finds it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import cast

from hub.errors import ConnectionLost, ConnectionRefused, HubError


@contextmanager
def collapse_exception_group() -> Generator[None]:
    """Raises the one error of an exception group, or the first of several that mean the same, instead of the group.

    Several errors are collapsed only when all of them are the same kind of `HubError`, or lost connections: a lost
    connection fails all tasks that used it, and that is one event; a refusal among them is raised first, since it has
    the reason. Any other group, and one that holds a cancellation, is raised as it is.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        inner = list(iterate_exceptions(group))
        first = next((each for each in inner if isinstance(each, ConnectionRefused)), inner[0])
        kind = ConnectionLost if isinstance(first, ConnectionLost) else type(first)
        alone = len(inner) == 1 and isinstance(first, Exception)
        alike = isinstance(first, HubError) and all(isinstance(each, kind) for each in inner)
        if not (alone or alike):
            raise
        context = first.__context__
        try:
            raise first
        finally:
            first.__context__ = context  # raising inside `except` would chain the error to the group that held it
            del first, inner


def iterate_exceptions(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group and in the groups in it, in order; for any other error, the error itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)  # what every group is at least
        for inner in group.exceptions:
            yield from iterate_exceptions(inner)
    else:
        yield error
