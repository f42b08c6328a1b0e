"""The trees of tasks in docs/architecture.md are those of running components, on both backends."""

from __future__ import annotations

import pytest

from scripts.task_tree import PAGE, task_trees, written


async def test_the_page_shows_the_tasks_that_run(amqp_url: str, redis_url: str) -> None:
    page = PAGE.read_text()

    assert written(page, await task_trees(amqp_url, redis_url)) == page


@pytest.mark.parametrize("component", ["registry", "gateway", "instance", "broker", "store"])
def test_a_tree_on_the_page_is_replaced(component: str) -> None:
    trees = dict.fromkeys(("registry", "gateway", "instance", "broker", "store"), "same\n")

    assert f"<!-- tasks of {component} -->\n```text\nsame\n```" in written(PAGE.read_text(), trees)
