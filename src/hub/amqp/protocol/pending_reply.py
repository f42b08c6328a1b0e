"""A reply that comes later, or that is not wanted any more."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class PendingReply(Generic[T]):
    """One answer to one request: a value or an error, exactly once.

    Answers come in the order of the requests, so a request whose caller went away keeps its place in the line: its
    reply is *abandoned*, a tombstone. What such a request has set up on the server is undone as soon as it is known.

    Args:
        undo: Takes back what the request did. Called with the value if the reply is abandoned, whichever comes first.
    """

    __slots__ = ("_abandoned", "_error", "_undo", "_values", "on_settled")

    def __init__(self, undo: Callable[[T], None] | None = None) -> None:
        self.on_settled: Callable[[], None] | None = None
        self._undo = undo
        self._abandoned = False
        self._error: Exception | None = None
        self._values: tuple[T, ...] = ()

    @property
    def settled(self) -> bool:
        return bool(self._values) or self._error is not None

    def succeed(self, value: T) -> None:
        if self.settled:
            return
        self._values = (value,)
        self._announce()

    def fail(self, error: Exception) -> None:
        if self.settled:
            return
        self._error = error
        self._announce()

    def cancel(self) -> None:
        """The caller does not wait any more. Does nothing the second time."""
        if self._abandoned:
            return
        self._abandoned = True
        self.on_settled = None
        self._take_back()

    def result(self) -> T:
        """The value of a settled reply.

        Raises:
            Exception: A copy of the error, if that is what came: one error may have settled many replies, and a
                traceback belongs to one raise.
        """
        if self._error is not None:
            raise copy(self._error) from self._error.__cause__
        (value,) = self._values
        return value

    def _announce(self) -> None:
        if self._abandoned:
            self._take_back()
        elif self.on_settled is not None:
            self.on_settled()

    def _take_back(self) -> None:
        if self._undo is not None and self._values:
            self._undo(self._values[0])
