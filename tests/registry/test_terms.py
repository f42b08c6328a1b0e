from __future__ import annotations

from math import inf, nan

import pytest

from hub.ports.directory import Terms
from hub.registry.client.errors import InvalidLogin
from hub.registry.core.limits import check_terms


@pytest.mark.parametrize(
    "terms",
    [
        Terms(),
        Terms(concurrency=64, default_timeout=0.5, max_timeout=0.5),
        Terms(default_timeout=1e6),
        Terms(max_timeout=1e-3),
    ],
)
def test_terms_that_tasks_can_be_held_to_are_let_in(terms: Terms) -> None:
    check_terms(terms)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (Terms(concurrency=0), "terms.concurrency"),
        (Terms(concurrency=-1), "terms.concurrency"),
        (Terms(default_timeout=0), "terms.default_timeout"),
        (Terms(default_timeout=nan), "terms.default_timeout"),
        (Terms(max_timeout=-1), "terms.max_timeout"),
        (Terms(max_timeout=inf), "terms.max_timeout"),
        (Terms(default_timeout=2, max_timeout=1), "terms.default_timeout"),
    ],
)
def test_terms_that_no_task_could_be_held_to_are_refused_with_the_repair(terms: Terms, field: str) -> None:
    with pytest.raises(InvalidLogin, match=r": say |: lower the one") as caught:
        check_terms(terms)
    assert caught.value.field == field
