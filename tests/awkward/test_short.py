"""The awkward models in their short form. `make awkward` is the long one, with figures."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.awkward.plan import SHORT
from tests.awkward.run import run
from tests.awkward.system import ROOT, Backend, Way

pytestmark = pytest.mark.slow

_log = logging.getLogger(__name__)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["embedded", pytest.param("servers", marks=[pytest.mark.rabbitmq, pytest.mark.redis])])
async def test_no_awkward_model_disturbs_a_good_one(
    anyio_backend: tuple[str, dict[str, object]], way: Way, tmp_path: Path
) -> None:
    report = await run(SHORT, cast("Backend", anyio_backend[0]), way, tmp_path / "awkward", _log.info)

    assert report.broken == []
    assert report.tasks >= sum(case.tasks + (case.call is not None) for case in SHORT.cases())
    assert len(report.samples) > 100


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (
            "tests.awkward.misspelt:Misspelt",
            ["concurency", "concurrency", "timeout", "default_timeout", "set_up", "setup"],
        ),
        ("tests.awkward.no_method:NoMethod", ["NoMethod", "proces_request", "process_request"]),
    ],
)
def test_a_model_that_is_written_wrong_is_refused_with_what_to_write(target: str, named: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "hub", "up", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) <= 5, ended.stderr
    assert [name for name in named if name not in ended.stderr] == []
