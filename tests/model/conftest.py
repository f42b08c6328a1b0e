"""What most tests of the worker have around it: a broker and a store that can be watched and broken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.model.fakes import BreakableStore, WatchedBroker


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore()


@pytest.fixture
async def broker(store: BreakableStore) -> AsyncIterator[WatchedBroker]:
    """Open; in the end nothing was acked whose end had not been confirmed."""
    watched = WatchedBroker(store)
    async with watched.inner:
        yield watched
    assert watched.early == []
