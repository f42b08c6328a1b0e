from __future__ import annotations

from math import inf, nan

import pytest

from hub.ports.directory import ModelLimits
from hub.registry.client.errors import InvalidLogin
from hub.registry.tasks.registration import check_limits


@pytest.mark.parametrize(
    "limits",
    [
        ModelLimits(),
        ModelLimits(concurrency=64, default_timeout=0.5, max_timeout=0.5),
        ModelLimits(default_timeout=1e6),
        ModelLimits(max_timeout=1e-3),
    ],
)
def test_limits_that_tasks_can_keep_are_accepted(limits: ModelLimits) -> None:
    check_limits(limits)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (ModelLimits(concurrency=0), "limits.concurrency"),
        (ModelLimits(concurrency=-1), "limits.concurrency"),
        (ModelLimits(default_timeout=0), "limits.default_timeout"),
        (ModelLimits(default_timeout=nan), "limits.default_timeout"),
        (ModelLimits(max_timeout=-1), "limits.max_timeout"),
        (ModelLimits(max_timeout=inf), "limits.max_timeout"),
        (ModelLimits(default_timeout=2, max_timeout=1), "limits.default_timeout"),
    ],
)
def test_limits_that_no_task_can_keep_are_refused_with_the_repair(limits: ModelLimits, field: str) -> None:
    with pytest.raises(InvalidLogin, match=r": say |: lower the one") as caught:
        check_limits(limits)
    assert caught.value.field == field
