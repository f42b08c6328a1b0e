"""Requests that are held back until something happens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

from anyio import CancelScope, move_on_after


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

    @contextmanager
    def wait_scope(self, seconds: float) -> Generator[None]:
        """Ends the block without an error after `seconds`, or when the server drains; at its first checkpoint if it does."""
        with move_on_after(0 if self._draining else seconds) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def cancel_all(self) -> None:
        """Ends every wait, and every later one at its first checkpoint: the server is about to stop."""
        self._draining = True
        for scope in self._scopes:
            scope.cancel("the server drains")
