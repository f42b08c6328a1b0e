"""Requests that are held back until something happens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import final

from anyio import CancelScope, move_on_after
from typing_extensions import override


@final
class LongPollRegistry:
    """Bounds the waits of requests, and ends them all when the server drains, so that each still gets its reply."""

    def __init__(self) -> None:
        self._scopes: set[CancelScope] = set()
        self._draining = False

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._scopes)

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop: streams of replies end now."""
        return self._draining

    def wait_scope(self, seconds: float) -> AbstractContextManager[None, bool]:
        """Ends the block without an error after `seconds`, or when the server drains; at its first checkpoint if it does."""
        return _Wait(self._scopes, 0 if self._draining else seconds)

    def cancel_all(self) -> None:
        """Ends every wait, and every later one at its first checkpoint: the server is about to stop."""
        self._draining = True
        for scope in self._scopes:
            scope.cancel("the server drains")


@final
class _Wait(AbstractContextManager[None, bool]):
    """The block of `LongPollRegistry.wait_scope`; a class, since a generator costs twice as much."""

    __slots__ = ("_scope", "_scopes", "_seconds")

    def __init__(self, scopes: set[CancelScope], seconds: float) -> None:
        self._scopes = scopes
        self._seconds = seconds

    @override
    def __enter__(self) -> None:
        self._scope = move_on_after(self._seconds)
        self._scopes.add(self._scope)
        self._scope.__enter__()

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._scopes.discard(self._scope)
        return bool(self._scope.__exit__(kind, error, traceback))
