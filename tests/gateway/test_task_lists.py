"""Lists of recent tasks, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from jsonschema_rs import Draft202012Validator

from hub.gateway.tasks.lists import MAX_LIMIT, MAX_MESSAGE
from hub.ports.result_store import LISTED_STATES, ReleasedTask
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome, Task
from hub.types import ModelName, TaskState, new_task_id
from tests.gateway.fakes import LOST
from tests.gateway.fixtures import CONTRACT_A, DIGITS, INSTANCE, MODEL_A, LocalGateway, open_gateway
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
    gateway: LocalGateway, state: TaskState, *, at: float, model: ModelName = MODEL_A, failure: Failure = RAISED
) -> Task:
    task = made(model)
    await gateway.store.create([task])
    await gateway.store.start([task], INSTANCE, attempts=5)
    outcome = Outcome(
        task_id=task.id,
        state=state,
        failure=failure,
        attempt=1,
        instance=INSTANCE,
        started_at=at - 2,
        finished_at=at,
    )
    await gateway.store.finish([outcome])
    return task


async def listed(gateway: LocalGateway, query: str = "") -> list[dict[str, Any]]:
    reply = await gateway.client.get(f"/v1/tasks{query}")
    assert reply.status_code == 200, reply.text
    tasks: list[dict[str, Any]] = reply.json()["tasks"]
    return tasks


async def test_a_failed_task_is_listed_with_its_failure_and_its_url(gateway: LocalGateway) -> None:
    task = await ended(gateway, TaskState.FAILED, at=T0 + 5)
    (found,) = await listed(gateway, "?state=failed&model=ModelA")
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
    shown = (await gateway.client.get(found["url"])).json()
    assert {name: shown[name] for name in ("id", "started_at", "finished_at")} == {
        name: found[name] for name in ("id", "started_at", "finished_at")
    }


async def test_the_message_of_a_failure_is_cut_in_a_list(gateway: LocalGateway) -> None:
    await ended(gateway, TaskState.DEAD, at=T0, failure=replace(RAISED, message="x" * 16_000))
    (found,) = await listed(gateway)
    assert found["failure"]["message"] == "x" * MAX_MESSAGE + " ..."


async def test_tasks_are_listed_by_state_and_model_the_newest_first(gateway: LocalGateway) -> None:
    wanted: dict[str, str] = {}
    for index, state in enumerate((TaskState.FAILED, TaskState.DEAD, TaskState.EXPIRED, TaskState.CANCELLED)):
        wanted[state.value] = (await ended(gateway, state, at=T0 + index)).id
    other = (await ended(gateway, TaskState.FAILED, at=T0 - 1, model=DIGITS)).id
    running, waiting = made(), made()
    await gateway.store.create([running, waiting])
    await gateway.store.start([running], INSTANCE, attempts=5)

    async def ids(query: str) -> list[str]:
        return [task["id"] for task in await listed(gateway, query)]

    in_order = [running.id, wanted["cancelled"], wanted["expired"], wanted["dead"], wanted["failed"]]
    assert await ids("") == [*in_order, other]
    assert await ids("?model=ModelA") == in_order
    assert await ids("?model=Digits") == [other]
    assert await ids("?model=Unknown") == []
    assert await ids("?state=running") == [running.id]
    assert await ids("?state=failed") == [wanted["failed"], other]
    assert await ids("?state=dead&state=failed&model=ModelA") == [wanted["dead"], wanted["failed"]]
    assert await ids("?state=dead,failed&model=ModelA") == [wanted["dead"], wanted["failed"]]
    assert await ids("?state=&model=") == [*in_order, other]


async def test_pages_link_to_the_next_one(gateway: LocalGateway) -> None:
    ids = [(await ended(gateway, TaskState.FAILED, at=T0 + index // 2)).id for index in range(7)]
    seen: list[str] = []
    where: str | None = "/v1/tasks?state=failed&state=dead&model=ModelA&limit=3"
    while where is not None:
        page = (await gateway.client.get(where)).json()
        assert len(page["tasks"]) <= 3
        seen += [task["id"] for task in page["tasks"]]
        where = page.get("next")
    assert sorted(seen) == sorted(ids)
    assert len(seen) == 7


async def test_a_known_list_is_a_304(gateway: LocalGateway) -> None:
    await ended(gateway, TaskState.FAILED, at=T0)
    first = await gateway.client.get("/v1/tasks")
    assert first.headers["cache-control"] == "no-cache"
    known = {"If-None-Match": first.headers["etag"]}
    again = await gateway.client.get("/v1/tasks", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    head = await gateway.client.head("/v1/tasks")
    assert (head.status_code, head.headers["etag"]) == (200, first.headers["etag"])
    await ended(gateway, TaskState.FAILED, at=T0 + 1)
    assert (await gateway.client.get("/v1/tasks", headers=known)).status_code == 200


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
        ("before=yesterday", "use the URL in `next`"),
        ("before=1764200000.000000_" + "-" * 35, "use the URL in `next`"),
        ("model=a%20b", "not a model name"),
    ],
)
async def test_an_invalid_parameter_is_refused_with_the_repair(gateway: LocalGateway, query: str, repair: str) -> None:
    reply = await gateway.client.get(f"/v1/tasks?{query}")
    assert problem(reply) == (400, "bad_parameter")
    assert repair in reply.json()["detail"]
    assert len(reply.text) < 1000


async def test_a_list_requires_a_key_where_keys_are_required() -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="one") as gateway:
            assert problem(await gateway.client.get("/v1/tasks")) == (401, "unauthorized")
            assert (await gateway.client.get("/v1/tasks", headers={"X-API-Key": "one"})).status_code == 200


async def test_a_late_task_of_a_dead_instance_is_ended_by_a_list() -> None:
    now = [T0]
    task = made(deadline=T0 + 30)
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store, clock=lambda: now[0]) as gateway,
        ):
            await store.create([task])
            await store.start([task], INSTANCE, attempts=5)
            now[0] += 35
            assert [found["state"] for found in await listed(gateway)] == ["running"]
            now[0] += 10
            assert await listed(gateway, "?state=running") == []
            assert [found["state"] for found in await listed(gateway)] == ["expired"]


async def test_a_task_that_expires_while_its_list_is_read_is_left_out() -> None:
    now = [T0]
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store, clock=lambda: now[0]) as gateway,
        ):
            task = await ended(gateway, TaskState.FAILED, at=T0)
            assert [found["id"] for found in await listed(gateway)] == [task.id]
            now[0] += 24 * 3600 + 1
            assert await listed(gateway) == []


async def test_a_store_out_of_reach_is_a_503(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object, **__: object) -> None:
        await anyio.lowlevel.checkpoint()
        raise LOST

    monkeypatch.setattr(gateway.store, "recent", lost)
    assert problem(await gateway.client.get("/v1/tasks")) == (503, "connection_lost")


async def test_a_task_that_waits_for_a_retry_is_on_no_list(gateway: LocalGateway) -> None:
    task = made()
    await gateway.store.create([task])
    await gateway.store.start([task], INSTANCE, attempts=5)
    await gateway.store.release([ReleasedTask(task_id=task.id, attempt=1, retry_at=2e9)])
    assert await listed(gateway) == []


async def test_lists_are_what_the_description_says(gateway: LocalGateway) -> None:
    for index, state in enumerate(LISTED_STATES[1:]):
        await ended(gateway, state, at=T0 + index)
    task = made()
    await gateway.store.create([task])
    await gateway.store.start([task], INSTANCE, attempts=5)
    found = (await gateway.client.get("/openapi.json")).json()
    assert found["components"]["schemas"]["ListedState"]["enum"] == [state.value for state in LISTED_STATES]
    rules = {"$ref": "#/components/schemas/TaskList", "components": found["components"]}
    for query in ("", "?limit=2"):
        body = (await gateway.client.get(f"/v1/tasks{query}")).json()
        assert body["tasks"]
        Draft202012Validator(rules, validate_formats=True).validate(body)


async def test_a_running_task_has_its_start_and_a_waiting_one_has_none(gateway: LocalGateway) -> None:
    """In the view of the task and in its list."""
    task = made()
    await gateway.store.create([task])
    assert "started_at" not in (await gateway.client.get(f"/v1/tasks/{task.id}")).json()
    await gateway.store.start([task], INSTANCE, attempts=5)
    (record,) = await gateway.store.fetch([task.id])
    (row,) = await listed(gateway)
    shown = (await gateway.client.get(f"/v1/tasks/{task.id}")).json()
    assert shown["started_at"] == row["started_at"]
    assert shown["started_at"] == shown["updated_at"]
    await gateway.store.release([ReleasedTask(task_id=task.id, attempt=1)])
    assert "started_at" not in (await gateway.client.get(f"/v1/tasks/{task.id}")).json()
    assert record is not None
