"""Lists of recent tasks, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from jsonschema_rs import Draft202012Validator

from hub.gateway.tasks.lists import MAX_LIMIT, SHORT
from hub.ports.result_store import LISTED_STATES, ReleasedTask
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome, Task
from hub.types import ModelName, TaskState, new_task_id
from tests.gateway.faults import LOST
from tests.gateway.stage import CONTRACT_A, DIGITS, INSTANCE, MODEL_A, Stage, open_stage
from tests.gateway.test_submit import problem

T0 = 1_764_200_000.0
RAISED = Failure(code="model_error", type="ValueError", message="no sound", traceback="line 1\nline 2")


def made(model: ModelName = MODEL_A, *, deadline: float | None = None) -> Task:
    return Task(
        id=new_task_id(),
        model=model,
        body=b"",
        fingerprint=CONTRACT_A.fingerprint,
        created_at=T0,
        deadline=deadline,
    )


async def ended(
    stage: Stage, state: TaskState, *, at: float, model: ModelName = MODEL_A, failure: Failure = RAISED
) -> Task:
    task = made(model)
    await stage.store.create([task])
    await stage.store.start([task], INSTANCE, attempts=5)
    outcome = Outcome(
        task_id=task.id,
        state=state,
        failure=failure,
        attempt=1,
        instance=INSTANCE,
        started_at=at - 2,
        finished_at=at,
    )
    await stage.store.finish([outcome])
    return task


async def listed(stage: Stage, query: str = "") -> list[dict[str, Any]]:
    reply = await stage.client.get(f"/v1/tasks{query}")
    assert reply.status_code == 200, reply.text
    tasks: list[dict[str, Any]] = reply.json()["tasks"]
    return tasks


async def test_a_failed_task_is_listed_with_its_reason_and_the_way_to_it(stage: Stage) -> None:
    task = await ended(stage, TaskState.FAILED, at=T0 + 5)
    (found,) = await listed(stage, "?state=failed&model=ModelA")
    assert found.pop("updated_at") < found.pop("expires_at")
    assert found == {
        "id": task.id,
        "model": "ModelA",
        "state": "failed",
        "attempt": 1,
        "instance": INSTANCE,
        "retries": 0,
        "created_at": "2025-11-26T23:33:20Z",
        "started_at": "2025-11-26T23:33:23Z",
        "finished_at": "2025-11-26T23:33:25Z",
        "failure": {"code": "model_error", "type": "ValueError", "message": "no sound"},
        "url": f"/v1/tasks/{task.id}",
    }
    shown = (await stage.client.get(found["url"])).json()
    assert {name: shown[name] for name in ("id", "started_at", "finished_at")} == {
        name: found[name] for name in ("id", "started_at", "finished_at")
    }


async def test_the_message_of_a_failure_is_cut_in_a_list(stage: Stage) -> None:
    await ended(stage, TaskState.DEAD, at=T0, failure=replace(RAISED, message="x" * 16_000))
    (found,) = await listed(stage)
    assert found["failure"]["message"] == "x" * SHORT + " ..."


async def test_tasks_are_listed_by_state_and_model_the_newest_first(stage: Stage) -> None:
    wanted: dict[str, str] = {}
    for index, state in enumerate((TaskState.FAILED, TaskState.DEAD, TaskState.EXPIRED, TaskState.CANCELLED)):
        wanted[state.value] = (await ended(stage, state, at=T0 + index)).id
    other = (await ended(stage, TaskState.FAILED, at=T0 - 1, model=DIGITS)).id
    running, waiting = made(), made()
    await stage.store.create([running, waiting])
    await stage.store.start([running], INSTANCE, attempts=5)

    async def ids(query: str) -> list[str]:
        return [task["id"] for task in await listed(stage, query)]

    in_order = [running.id, wanted["cancelled"], wanted["expired"], wanted["dead"], wanted["failed"]]
    assert await ids("") == [*in_order, other]
    assert await ids("?model=ModelA") == in_order
    assert await ids("?model=Digits") == [other]
    assert await ids("?model=Nobody") == []
    assert await ids("?state=running") == [running.id]
    assert await ids("?state=failed") == [wanted["failed"], other]
    assert await ids("?state=dead&state=failed&model=ModelA") == [wanted["dead"], wanted["failed"]]
    assert await ids("?state=dead,failed&model=ModelA") == [wanted["dead"], wanted["failed"]]
    assert await ids("?state=&model=") == [*in_order, other]


async def test_pages_follow_each_other_by_their_links(stage: Stage) -> None:
    ids = [(await ended(stage, TaskState.FAILED, at=T0 + index // 2)).id for index in range(7)]
    seen: list[str] = []
    where: str | None = "/v1/tasks?state=failed&state=dead&model=ModelA&limit=3"
    while where is not None:
        page = (await stage.client.get(where)).json()
        assert len(page["tasks"]) <= 3
        seen += [task["id"] for task in page["tasks"]]
        where = page.get("next")
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 7


async def test_a_list_that_is_known_already_is_a_304(stage: Stage) -> None:
    await ended(stage, TaskState.FAILED, at=T0)
    first = await stage.client.get("/v1/tasks")
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"]}
    again = await stage.client.get("/v1/tasks", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    head = await stage.client.head("/v1/tasks")
    assert (head.status_code, head.headers["etag"]) == (200, first.headers["etag"])
    await ended(stage, TaskState.FAILED, at=T0 + 1)
    assert (await stage.client.get("/v1/tasks", headers=known)).status_code == 200


@pytest.mark.parametrize(
    ("query", "repair"),
    [
        ("state=queued", "running, failed, dead, expired, cancelled"),
        ("state=failed&state=Dead", "'Dead'"),
        ("limit=0", f"from 1 to {MAX_LIMIT}"),
        (f"limit={MAX_LIMIT + 1}", f"from 1 to {MAX_LIMIT}"),
        ("limit=-1", f"from 1 to {MAX_LIMIT}"),
        ("limit=ten", f"from 1 to {MAX_LIMIT}"),
        ("limit=1e1", f"from 1 to {MAX_LIMIT}"),
        ("limit=" + "9" * 5000, f"from 1 to {MAX_LIMIT}"),
        ("limit=%D9%A3", f"from 1 to {MAX_LIMIT}"),
        ("before=yesterday", "take `next`"),
        ("before=1764200000.000000_" + "-" * 35, "take `next`"),
        ("model=a%20b", "not a model name"),
    ],
)
async def test_a_parameter_that_makes_no_sense_is_refused_with_its_repair(
    stage: Stage, query: str, repair: str
) -> None:
    reply = await stage.client.get(f"/v1/tasks?{query}")
    assert problem(reply) == (400, "bad_parameter")
    assert repair in reply.json()["detail"]
    assert len(reply.text) < 1000


async def test_a_list_asks_for_a_key_where_keys_are_asked() -> None:
    with anyio.fail_after(10):
        async with open_stage(keys=("one",)) as stage:
            assert problem(await stage.client.get("/v1/tasks")) == (401, "unauthorized")
            assert (await stage.client.get("/v1/tasks", headers={"X-API-Key": "one"})).status_code == 200


async def test_a_task_whose_instance_has_died_does_not_run_for_ever_in_a_list() -> None:
    now = [T0]
    task = made(deadline=T0 + 30)
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_stage(store=store, clock=lambda: now[0]) as stage,
        ):
            await store.create([task])
            await store.start([task], INSTANCE, attempts=5)
            now[0] += 35
            assert [found["state"] for found in await listed(stage)] == ["running"]
            now[0] += 10
            assert await listed(stage, "?state=running") == []
            assert [found["state"] for found in await listed(stage)] == ["expired"]


async def test_a_task_that_goes_while_its_list_is_read_is_left_out() -> None:
    now = [T0]
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_stage(store=store, clock=lambda: now[0]) as stage,
        ):
            task = await ended(stage, TaskState.FAILED, at=T0)
            assert [found["id"] for found in await listed(stage)] == [task.id]
            now[0] += 24 * 3600 + 1
            assert await listed(stage) == []


async def test_a_store_out_of_reach_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object, **__: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise LOST

    monkeypatch.setattr(stage.store, "recent", lost)
    assert problem(await stage.client.get("/v1/tasks")) == (503, "connection_lost")


async def test_what_waits_for_a_retry_is_on_no_list(stage: Stage) -> None:
    task = made()
    await stage.store.create([task])
    await stage.store.start([task], INSTANCE, attempts=5)
    await stage.store.release([ReleasedTask(task_id=task.id, attempt=1, retry_at=2e9)])
    assert await listed(stage) == []


async def test_lists_are_what_the_description_says(stage: Stage) -> None:
    for index, state in enumerate(LISTED_STATES[1:]):
        await ended(stage, state, at=T0 + index)
    task = made()
    await stage.store.create([task])
    await stage.store.start([task], INSTANCE, attempts=5)
    found = (await stage.client.get("/openapi.json")).json()
    assert found["components"]["schemas"]["ListedState"]["enum"] == [state.value for state in LISTED_STATES]
    rules = {"$ref": "#/components/schemas/TaskList", "components": found["components"]}
    for query in ("", "?limit=2"):
        body = (await stage.client.get(f"/v1/tasks{query}")).json()
        assert body["tasks"]
        Draft202012Validator(rules, validate_formats=True).validate(body)


async def test_a_running_task_tells_since_when_and_a_waiting_one_does_not(stage: Stage) -> None:
    """In the view of the task and in its list."""
    task = made()
    await stage.store.create([task])
    assert "started_at" not in (await stage.client.get(f"/v1/tasks/{task.id}")).json()
    await stage.store.start([task], INSTANCE, attempts=5)
    (record,) = await stage.store.fetch([task.id])
    (row,) = await listed(stage)
    shown = (await stage.client.get(f"/v1/tasks/{task.id}")).json()
    assert shown["started_at"] == row["started_at"]
    assert shown["started_at"] == shown["updated_at"]
    await stage.store.release([ReleasedTask(task_id=task.id, attempt=1)])
    assert "started_at" not in (await stage.client.get(f"/v1/tasks/{task.id}")).json()
    assert record is not None
