"""A mapping whose items have a lifetime: what it has, and that it needs no more memory than that takes."""

from __future__ import annotations

import gc

from hypothesis import given, strategies as st

from hub.stores.memory.expiring import WIDTH, Expiring

STEPS = st.lists(
    st.tuples(st.sampled_from(["keep", "drop"]), st.integers(0, 5), st.floats(0, 100), st.floats(0, 10)), max_size=60
)


def reachable(root: object) -> int:
    """How many objects an object keeps alive, itself included."""
    seen, todo = {id(root)}, [root]
    while todo:
        for each in gc.get_referents(todo.pop()):
            if id(each) not in seen and not isinstance(each, type):
                seen.add(id(each))
                todo.append(each)
    return len(seen)


@given(STEPS)
def test_an_item_is_there_until_the_last_time_that_was_given_for_it(
    steps: list[tuple[str, int, float, float]],
) -> None:
    expiring, model, now = Expiring[int, int](), dict[int, tuple[float, int]](), 0.0
    for number, (what, key, lifetime, pause) in enumerate(steps):
        now += pause
        if what == "keep":
            expiring.keep(key, number, until=now + lifetime, now=now)
            model[key] = (now + lifetime, number)
        else:
            expiring.drop(key)
            model.pop(key, None)
        for known in range(6):
            until, value = model.get(known, (0.0, 0))
            assert expiring.get(known, now) == (value if until > now else None)


def test_keeping_an_item_again_takes_no_more_memory() -> None:
    expiring = Expiring[int, int]()
    for number in range(10_000):
        expiring.keep(number % 10, number, until=1e6 - number, now=0.0)
    assert reachable(expiring) < 5_000


def test_items_that_ended_early_do_not_stay_until_their_first_time() -> None:
    expiring = Expiring[int, int]()
    for number in range(10_000):
        now = number / 100
        expiring.keep(number, 0, until=now + 1e6, now=now)
        expiring.keep(number, 1, until=now + 1, now=now)
    assert len(expiring) <= 100 * (1 + WIDTH) + 1
    assert reachable(expiring) < 5_000


def test_above_its_limit_what_would_expire_first_is_dropped() -> None:
    expiring = Expiring[int, int](limit=100)
    for number in range(1_000):
        expiring.keep(number, number, until=1e6 + WIDTH * number, now=0.0)
    assert len(expiring) == 100
    assert [expiring.get(number, 0.0) for number in (899, 900, 999)] == [None, 900, 999]
