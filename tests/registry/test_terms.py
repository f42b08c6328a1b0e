from __future__ import annotations

from math import inf, nan

import pytest

from hub.ports.directory import ModelLimits
from hub.registry.client.errors import InvalidLogin
from hub.registry.core.limits import check_terms


@pytest.mark.parametrize(
    "limits",
    [
        ModelLimits(),
        ModelLimits(concurrency=64, default_timeout=0.5, max_timeout=0.5),
        ModelLimits(default_timeout=1e6),
        ModelLimits(max_timeout=1e-3),
    ],
)
def test_terms_that_tasks_can_be_held_to_are_let_in(limits: ModelLimits) -> None:
    check_terms(limits)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (ModelLimits(concurrency=0), "terms.concurrency"),
        (ModelLimits(concurrency=-1), "terms.concurrency"),
        (ModelLimits(default_timeout=0), "terms.default_timeout"),
        (ModelLimits(default_timeout=nan), "terms.default_timeout"),
        (ModelLimits(max_timeout=-1), "terms.max_timeout"),
        (ModelLimits(max_timeout=inf), "terms.max_timeout"),
        (ModelLimits(default_timeout=2, max_timeout=1), "terms.default_timeout"),
    ],
)
def test_terms_that_no_task_could_be_held_to_are_refused_with_the_repair(limits: ModelLimits, field: str) -> None:
    with pytest.raises(InvalidLogin, match=r": say |: lower the one") as caught:
        check_terms(limits)
    assert caught.value.field == field
