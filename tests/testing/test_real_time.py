"""What the test kit says about virtual time in an event loop with a real clock."""

from __future__ import annotations

import pytest

import hub.testing
from tests.testing.models import Echo, running


async def test_virtual_time_needs_a_loop_with_a_virtual_clock() -> None:
    with pytest.raises(hub.testing.VirtualTimeUnavailable, match="virtual_backend"):
        async with running(Echo, virtual_time=True):
            raise AssertionError("not reached")
