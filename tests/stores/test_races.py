"""Many callers at once, calls that are cancelled, and calls in any order, whichever adapter serves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from anyio import create_task_group, fail_after, move_on_after
from hypothesis import HealthCheck, given, settings, strategies as st

from hub.ports.result_store import Missing, ReleasedTask, ResultStore, Start
from hub.stores import StoreOptions
from hub.stores.memory.store import MemoryStore
from hub.task import Outcome, Task, TaskRecord
from hub.types import TaskState
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    Adapter,
    CancelledAt,
    cancelled,
    death,
    failure,
    record_of,
    said,
    success,
    task,
    timeless,
)
from tests.stores.test_waiting import peer
from tests.support.examples import examples


async def test_of_racing_outcomes_exactly_one_counts(adapter: Adapter, store: ResultStore) -> None:
    tasks = [task() for _ in range(80)]
    counted: list[Outcome] = []

    async def finish(by: ResultStore, outcomes: Sequence[Outcome]) -> None:
        told = await by.finish(outcomes)
        counted.extend(outcome for outcome, counts in zip(outcomes, told, strict=True) if counts)

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create(tasks)
            async with create_task_group() as tg:
                for index in range(6):
                    outcomes = [success(one, bytes([index])) for one in tasks]
                    for start in range(0, 80, 20):  # in pieces, so that the calls interleave
                        tg.start_soon(finish, (store, other)[index % 2], outcomes[start : start + 20])
        assert sorted(outcome.task_id for outcome in counted) == sorted(one.id for one in tasks)
        found = await store.fetch([outcome.task_id for outcome in counted])
        assert [record.outcome for record in found if isinstance(record, TaskRecord)] == counted


async def test_racing_starts_each_count_one_attempt(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    attempts: list[int] = []

    async def start(by: ResultStore) -> None:
        (started,) = await by.start([one], ONE, attempts=MANY)
        attempts.append(started.attempt)

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create([one])
            async with create_task_group() as tg:
                for index in range(40):
                    tg.start_soon(start, (store, other)[index % 2])
        assert sorted(attempts) == list(range(1, 41))
        assert (await record_of(store, one)).revision == 41


async def test_of_racing_creates_exactly_one_writes(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    written: list[bool] = []

    async def create(by: ResultStore) -> None:
        (there,) = await by.create([one])
        written.append(there is None)

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            for index in range(20):
                tg.start_soon(create, (store, other)[index % 2])
        assert written.count(True) == 1


async def test_a_withdrawal_that_races_with_a_start_leaves_one_winner(adapter: Adapter, store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            for _ in range(30):
                one = task()
                await store.create([one])
                started: list[Start] = []

                async def start(one: Task = one, started: list[Start] = started) -> None:
                    started.extend(await other.start([one], ONE, attempts=MANY))

                async with create_task_group() as tg:
                    tg.start_soon(store.withdraw, [one])
                    tg.start_soon(start)
                (found,) = await store.fetch([one.id])
                assert (started[0].state is None) == (found is Missing.UNKNOWN)


async def test_a_call_cancelled_anywhere_disturbs_no_other(store: ResultStore) -> None:
    """At its 1st, 2nd, 3rd ... checkpoint, with other calls before and behind it on the same link."""
    with fail_after(TIMEOUT):
        nth, more = 0, True
        while more:
            nth += 1
            victim, others = task(), [task() for _ in range(4)]
            await store.create([victim, *others])
            found: dict[str, object] = {}

            async def fetch(one: Task, found: dict[str, object] = found) -> None:
                found[one.id] = (await store.fetch([one.id]))[0]

            async with create_task_group() as tg:
                for one in others[:2]:
                    tg.start_soon(fetch, one)
                with move_on_after(5) as scope:
                    call = CancelledAt(store.finish([success(victim)]), nth, scope)
                    tg.start_soon(fetch, others[2])
                    await call
                tg.start_soon(fetch, others[3])
            more = call.waits >= nth
            assert found == {one.id: await record_of(store, one) for one in others}
            # Whether the server carried the cancelled call out is open; repeating it settles that.
            assert (await record_of(store, victim)).state in (TaskState.QUEUED, TaskState.SUCCEEDED)
            assert await store.finish([success(victim)]) == [True]
            assert store.statistics().reconnects == 0


scripts = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("create", "confirm", "withdraw", "start", "start for the last time", "hand back", "retry", "report"),
                *("reset", "finish well", "finish badly", "cancel", "kill"),
            ]
        ),
        st.lists(st.integers(0, 3), min_size=1, max_size=4),
        st.integers(1, 3),
    ),
    max_size=16,
)


@given(script=scripts)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_order_of_calls_keeps_the_promises_of_a_record(
    store: ResultStore, script: list[tuple[str, list[int], int]]
) -> None:
    """Every answer is the one of the store in memory, and what no record may do, none does."""
    tasks = [task(), task(), task(key="order-7")]
    tasks.append(replace(tasks[2], body=b"another", created_at=tasks[2].created_at + 1))  # a submit of the same key
    with fail_after(TIMEOUT):
        async with MemoryStore(StoreOptions()) as oracle:
            before: list[TaskRecord | Missing] = [Missing.UNKNOWN] * 3
            for name, indices, attempt in script:
                group = [tasks[index] for index in indices]
                assert timeless_answers(await carry_out(store, name, group, attempt)) == timeless_answers(
                    await carry_out(oracle, name, group, attempt)
                )
                after = await store.fetch([one.id for one in tasks[:3]])
                assert timeless_answers(after) == timeless_answers(await oracle.fetch([one.id for one in tasks[:3]]))
                for old, new in zip(before, after, strict=True):
                    check_step(old, new, revives=name == "reset")
                before = list(after)


def check_step(old: TaskRecord | Missing, new: TaskRecord | Missing, *, revives: bool) -> None:
    if isinstance(old, Missing):
        return
    if isinstance(new, Missing):
        assert old.state is TaskState.QUEUED, "only what is queued can be withdrawn"
        assert old.pending or not old.digest, "what is accepted cannot be withdrawn"
        return
    assert new.revision >= old.revision
    assert (new.revision > old.revision) == (timeless(new) != timeless(old)), "each change is counted"
    assert new.attempt >= old.attempt
    assert (new.outcome is not None) == new.state.terminal
    assert new.retry_at is None or new.state is TaskState.QUEUED
    assert not new.pending or (new.state is TaskState.QUEUED and new.attempt == 0)
    if old.state.terminal and not (revives and old.state is TaskState.DEAD):
        assert new == old, "what has ended never changes"
    if not revives:
        assert new.retries >= old.retries
        assert new.digest == old.digest


async def carry_out(store: ResultStore, name: str, group: Sequence[Task], attempt: int) -> Sequence[object]:
    runs = [ReleasedTask(task_id=one.id, attempt=attempt) for one in group]
    calls: dict[str, Callable[[], Awaitable[Sequence[object] | None]]] = {
        "create": lambda: store.create(group),
        "confirm": lambda: store.confirm(group),
        "withdraw": lambda: store.withdraw(group),
        "start": lambda: store.start(group, ONE, attempts=MANY),
        "start for the last time": lambda: store.start(group, ONE, attempts=attempt),
        "hand back": lambda: store.release(runs),
        "retry": lambda: store.release([replace(run, retry_at=1.7e9 + attempt) for run in runs]),
        "report": lambda: store.report([said(one, attempt, message=str(attempt)) for one in group]),
        "reset": lambda: store.reset(group),
        "finish well": lambda: store.finish([success(one) for one in group]),
        "finish badly": lambda: store.finish([failure(one) for one in group]),
        "cancel": lambda: store.finish([cancelled(one) for one in group]),
        "kill": lambda: store.finish([death(one) for one in group]),
    }
    return await calls[name]() or ()


def timeless_answers(answers: Sequence[object]) -> list[object]:
    return [timeless(answer) if isinstance(answer, TaskRecord) else answer for answer in answers]
