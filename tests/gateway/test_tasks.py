"""Reading tasks and their results."""

from __future__ import annotations

from datetime import datetime

import anyio
import pytest

from examples.model_a.v1 import model_a_pb2
from hub.errors import ConnectionLost
from hub.http.client import open_client
from hub.ports.result_store import ProgressReport, ReleasedTask
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Failure, Progress, Task
from hub.types import new_task_id
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, INSTANCE, MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import TASKS, problem
from tests.gateway.wire import serving


async def submit(gateway: LocalGateway) -> str:
    reply = await gateway.client.post(TASKS, json={"messages": "hi"})
    return str(reply.headers["location"])


@pytest.mark.parametrize("task_id", ["nonsense", str(new_task_id())], ids=["nonsense", "fresh"])
async def test_a_task_that_was_never_submitted_is_unknown(gateway: LocalGateway, task_id: str) -> None:
    for path in (f"/v1/tasks/{task_id}", f"/v1/tasks/{task_id}/result", f"/v1/tasks/{task_id}?wait=5"):
        assert problem(await gateway.client.get(path)) == (404, "unknown_task")


async def test_a_task_that_has_expired_is_gone() -> None:
    now = [1_000_000.0]
    with anyio.fail_after(10):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store) as gateway,
        ):
            await gateway.model(answer=echo_a)
            reply = await gateway.client.post(TASKS, json={}, headers={"Prefer": "wait=5"})
            now[0] += 24 * 3600 + 1
            assert problem(await gateway.client.get(reply.headers["location"])) == (410, "task_record_expired")
            assert problem(await gateway.client.get(reply.headers["location"] + "/result")) == (
                410,
                "task_record_expired",
            )


async def test_the_etag_of_a_task_changes_with_its_state(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)

    queued = await gateway.client.get(task)
    again = await gateway.client.get(task, headers={"If-None-Match": queued.headers["etag"]})
    await gateway.model(answer=echo_a)
    ended = await gateway.client.get(task, params={"wait": 5})

    assert queued.json()["state"] == "queued"
    assert (again.status_code, again.content) == (304, b"")
    assert ended.json()["state"] == "succeeded"
    assert (ended.json()["attempt"], ended.json()["result"]) == (1, {"reply": "Processed message: hi\n"})
    assert ended.headers["etag"] != queued.headers["etag"]


async def test_a_long_poll_is_answered_when_the_task_ends(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)
    states: list[str] = []

    async def hold() -> None:
        states.append((await gateway.client.get(task, params={"wait": 30})).json()["state"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        assert (states, gateway.parts.polls.waiting) == ([], 1)
        await gateway.model(answer=echo_a)

    assert (states, gateway.parts.polls.waiting) == (["succeeded"], 0)


async def test_a_long_poll_with_an_etag_is_answered_at_any_change(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = (await gateway.client.post(TASKS, json={}, headers={"Prefer": "wait=5"})).headers["location"]
    etag = (await gateway.client.get(task)).headers["etag"]

    # It has ended already, so there is nothing to wait for.
    reply = await gateway.client.get(task, params={"wait": 30}, headers={"If-None-Match": etag})
    stale = await gateway.client.get(task, params={"wait": 30}, headers={"If-None-Match": '"1"'})

    assert (reply.status_code, stale.status_code) == (304, 200)


async def test_a_draining_server_answers_its_long_polls(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)
    states: list[str] = []

    async def hold() -> None:
        states.append((await gateway.client.get(task, params={"wait": 30})).json()["state"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        gateway.parts.polls.cancel_all()
    assert states == ["queued"]
    assert (await gateway.client.get(task, params={"wait": 30})).json()["state"] == "queued"


@pytest.mark.parametrize("wait", ["soon", "-1", "1.2.3", "", "inf"])
async def test_a_wait_that_is_no_number_of_seconds_is_refused(gateway: LocalGateway, wait: str) -> None:
    await gateway.model()
    task = await submit(gateway)
    assert problem(await gateway.client.get(task, params={"wait": wait})) == (400, "bad_parameter")


async def test_the_result_is_the_message_alone_as_json_or_protobuf(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)

    as_json = await gateway.client.get(f"{task}/result", params={"wait": 5})
    as_protobuf = await gateway.client.get(f"{task}/result", headers={"Accept": "application/x-protobuf"})

    assert (as_json.headers["content-type"], as_json.json()) == (
        "application/json",
        {"reply": "Processed message: hi\n"},
    )
    assert model_a_pb2.ModelAResponse.FromString(as_protobuf.content).reply == "Processed message: hi\n"


async def test_a_result_that_is_not_there_yet_is_a_409_with_the_state(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)
    reply = await gateway.client.get(f"{task}/result")
    assert problem(reply) == (409, "not_finished")
    assert (reply.json()["state"], reply.headers["location"]) == ("queued", task)


async def test_a_failed_task_is_a_200_with_the_failure_inside_and_a_502_as_a_result(gateway: LocalGateway) -> None:
    await gateway.model(answer=lambda _: Failure(code="model_error", message="no such word"))
    task = await submit(gateway)

    shown = await gateway.client.get(task, params={"wait": 5})
    result = await gateway.client.get(f"{task}/result")

    assert (shown.status_code, shown.json()["failure"]) == (200, {"code": "model_error", "message": "no such word"})
    assert "result" not in shown.json()
    assert problem(result) == (502, "task_failed")


async def test_an_unknown_type_in_accept_is_a_406(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)
    reply = await gateway.client.get(f"{task}/result", headers={"Accept": "text/html"})
    assert problem(reply) == (406, "not_acceptable")


async def test_a_result_outlives_the_instance_and_the_contract_of_its_model(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)
    await gateway.client.get(task, params={"wait": 5})

    await gateway.list_model(MODEL_A, CONTRACT_DIGITS, live=0)

    assert (await gateway.client.get(f"{task}/result")).json() == {"reply": "Processed message: hi\n"}


async def test_a_result_of_an_unknown_contract_is_available_as_protobuf_only() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as store:
            async with open_gateway(store=store) as first:
                await first.model(answer=echo_a)
                task = await submit(first)
                await first.client.get(task, params={"wait": 5})
            async with open_gateway(store=store) as second:
                await second.list_model(MODEL_A, CONTRACT_DIGITS, live=1)
                shown = (await second.client.get(task)).json()
                assert ("result" in shown, shown["result_url"]) == (False, f"{task}/result")
                assert problem(await second.client.get(f"{task}/result")) == (503, "contract_unavailable")
                second.registry.error = ConnectionLost("registry", "pulled plug")
                assert problem(await second.client.get(f"{task}/result")) == (503, "contract_unavailable")
                binary = await second.client.get(f"{task}/result", headers={"Accept": "application/x-protobuf"})
                assert binary.status_code == 200
                await second.list_model(MODEL_A, CONTRACT_A, live=1)
                assert (await second.client.get(task)).json()["result"] == {"reply": "Processed message: hi\n"}


async def test_a_contract_that_only_the_registry_has_is_fetched_to_read_a_result() -> None:
    answer = {"reply": "Processed message: hi\n"}
    with anyio.fail_after(10):
        async with open_store("memory://") as store:
            async with open_gateway(store=store) as first:
                await first.model(answer=echo_a)
                task = await submit(first)
                await first.client.get(task, params={"wait": 5})
            async with open_gateway(store=store) as second:
                second.registry.contracts[CONTRACT_A.fingerprint] = CONTRACT_A
                await second.list_model(MODEL_A, CONTRACT_DIGITS, live=1)
                assert (await second.client.get(f"{task}/result")).json() == answer
                second.registry.error = ConnectionLost("registry", "what was fetched once is not asked for again")
                assert (await second.client.get(task)).json()["result"] == answer
            async with open_gateway(store=store) as third:
                third.registry.contracts[CONTRACT_A.fingerprint] = CONTRACT_A
                await third.list_model(MODEL_A, CONTRACT_DIGITS, live=1)
                events = await third.client.get(task, headers={"Accept": "text/event-stream"})
                assert "Processed message: hi" in events.text


async def test_a_store_that_does_not_answer_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as store:

            async def silent(*_: object) -> None:
                await anyio.sleep_forever()

            monkeypatch.setattr(store, "fetch", silent)
            async with open_gateway(store=store, publish_timeout=0.05) as gateway:
                reply = await gateway.client.get(f"/v1/tasks/{new_task_id()}")
                assert problem(reply) == (503, "connection_lost")


async def test_a_known_result_is_a_304(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)

    first = await gateway.client.get(f"{task}/result", params={"wait": 5})
    etag = {"If-None-Match": first.headers["etag"]}
    again = await gateway.client.get(f"{task}/result", headers=etag)
    binary = await gateway.client.get(f"{task}/result", headers={**etag, "Accept": "application/x-protobuf"})

    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert binary.status_code == 200  # it is another representation, so the other's ETag says nothing of it
    assert binary.headers["etag"] != first.headers["etag"]
    assert all("Accept" in reply.headers["vary"].split(", ") for reply in (first, again, binary))


async def test_an_etag_does_not_hide_the_end_of_a_task_without_a_result(gateway: LocalGateway) -> None:
    await gateway.model(answer=lambda _: Failure(code="model_error", message="no such word"))
    task = await submit(gateway)
    await gateway.client.get(task, params={"wait": 5})
    assert problem(await gateway.client.get(f"{task}/result", headers={"If-None-Match": "*"})) == (502, "task_failed")


async def test_a_result_has_the_id_and_the_expiry_of_its_task(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)
    await gateway.client.get(task, params={"wait": 5})
    kept = datetime.fromisoformat((await gateway.client.get(task)).json()["expires_at"])
    result = await gateway.client.get(f"{task}/result")
    call = await gateway.client.post("/v1/models/ModelA", json={})
    assert f"/v1/tasks/{result.headers['hub-task']}" == task
    assert datetime.fromisoformat(result.headers["hub-expires-at"]) == kept
    assert datetime.fromisoformat(call.headers["hub-expires-at"]) > kept


@pytest.mark.parametrize("path", ["", "/result"])
async def test_head_is_answered_like_get_without_the_body(gateway: LocalGateway, path: str) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)
    await gateway.client.get(task, params={"wait": 5})
    async with serving(gateway) as url, open_client() as client:
        for known in ({}, {"If-None-Match": "*"}):
            get = await client.get(f"{url}{task}{path}", headers=known)
            head = await client.head(f"{url}{task}{path}", headers=known)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


@pytest.mark.parametrize("path", ["", "/result"])
async def test_head_has_different_statuses_for_unknown_gone_and_unfinished(path: str) -> None:
    now = [1_000_000.0]
    with anyio.fail_after(20):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store) as gateway,
            serving(gateway) as url,
            open_client() as client,
        ):
            await gateway.model()
            queued = await submit(gateway)
            assert (await client.head(f"{url}{queued}{path}")).status_code == (409 if path else 200)
            assert (await client.head(f"{url}/v1/tasks/{new_task_id()}{path}")).status_code == 404
            await gateway.client.delete(queued)
            now[0] += 24 * 3600 + 1
            gone = await client.head(f"{url}{queued}{path}")
            assert (gone.status_code, gone.content) == (410, b"")
            assert gone.headers["content-type"] == "application/problem+json"


async def test_head_gets_the_headers_of_a_stream_and_no_event(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)
    async with serving(gateway) as url, open_client() as client:
        with anyio.fail_after(10):  # the task never ends
            head = await client.head(f"{url}{task}", headers={"Accept": "text/event-stream"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")


async def test_a_task_shows_its_progress_and_its_retries(gateway: LocalGateway) -> None:
    await gateway.model()
    location = await submit(gateway)
    assert "progress" not in (await gateway.client.get(location)).json()
    async with gateway.broker.consume(MODEL_A, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        task = Task.decode(delivery.body)
        await gateway.store.start([task], INSTANCE, attempts=5)
        await gateway.store.report(
            [ProgressReport(task_id=task.id, attempt=1, progress=Progress(fraction=0.25, message="reading", at=100.0))]
        )
        running = (await gateway.client.get(location)).json()
        assert running["progress"] == {"at": "1970-01-01T00:01:40Z", "fraction": 0.25, "message": "reading"}
        assert (running["retries"], "retry_at" in running) == (0, False)

        await gateway.store.release([ReleasedTask(task_id=task.id, attempt=1, retry_at=200.0)])
        waiting = (await gateway.client.get(location)).json()
        assert (waiting["state"], waiting["attempt"], waiting["retries"]) == ("queued", 1, 1)
        assert waiting["retry_at"] == "1970-01-01T00:03:20Z"
        assert "progress" not in waiting
