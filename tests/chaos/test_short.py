"""The short chaos run: each fault once, a few seconds long. `make chaos` is the long one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import pytest

from tests.chaos.faults import schedule
from tests.chaos.plan import SHORT
from tests.chaos.run import run
from tests.chaos.system import Backend

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.redis,
    pytest.mark.kills_servers,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

_log = logging.getLogger(__name__)


async def test_no_promise_is_broken_by_kills_freezes_and_lost_packets(
    anyio_backend: tuple[str, dict[str, object]], tmp_path: Path
) -> None:
    result = await run(SHORT, cast("Backend", anyio_backend[0]), tmp_path / "chaos", _log.info)

    assert {promise: evidence for promise, evidence in result.broken.items() if evidence} == {}
    # All faults were injected.
    assert [each.fault.name for each in result.recoveries] == [name for name, _ in schedule(SHORT)]
    assert result.counts["accepted"] >= SHORT.tasks
    assert result.counts["instances killed"] > 3
    assert result.counts["dead"] - result.counts["dead, not poisonous"] == SHORT.poison
    assert result.counts["runs of children"] > SHORT.trees
    assert result.counts["streams"] >= SHORT.streams
    assert all(result.counts[what] for what in ("failed", "cancelled", "expired", "runs above one per task"))
