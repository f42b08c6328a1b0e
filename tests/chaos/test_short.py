"""The chaos run in its short form: each fault once, a few seconds long. `make chaos` is the long one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import pytest

from tests.chaos.faults import schedule
from tests.chaos.plan import SHORT
from tests.chaos.run import run
from tests.chaos.stage import Backend

pytestmark = [pytest.mark.kills_servers, pytest.mark.timeout(300)]

_log = logging.getLogger(__name__)


async def test_no_promise_is_broken_whatever_is_killed_frozen_or_cut_off(
    anyio_backend: tuple[str, dict[str, object]], tmp_path: Path
) -> None:
    verdict = await run(SHORT, cast("Backend", anyio_backend[0]), tmp_path / "chaos", _log.info)

    assert {promise: evidence for promise, evidence in verdict.broken.items() if evidence} == {}
    # It was as bad as it was meant to be.
    assert [each.fault.name for each in verdict.returns] == [name for name, _ in schedule(SHORT)]
    assert verdict.counts["accepted"] >= SHORT.tasks
    assert verdict.counts["instances killed"] > 3
    assert verdict.counts["dead"] - verdict.counts["dead, not poisonous"] == SHORT.poison
    assert all(verdict.counts[what] for what in ("failed", "cancelled", "expired", "runs above one per task"))
